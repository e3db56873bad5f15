"""Talks to a running Doppio as any gRPC client can: no generated code, everything is learned from server reflection.

    python3 -m pip install -r requirements.txt
    python3 stock_client.py --member localhost:7401 --ordering localhost:7402 --query localhost:7403

Places an order, reads it back at once by its consistency token, asks the same over HTTP, whose JSON must be what protobuf's own library makes
of the gRPC answer, and provokes every refusal that docs/ERRORS.md promises for bad input;
each must come with its gRPC code, its reason and the fields at fault, and none may leave anything in the store's ledger. The store must
not be selling meanwhile. Prints one line a check; the exit code is 0 when all held, 1 when one did not, 2 when a server is missing.
"""

import argparse
import copy
import datetime
import json
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

CALL_SECONDS = 10
CONNECT_SECONDS = 15
DOMAIN = "doppio"
INT64_MAX = 2**63 - 1


class Service:
    """One service of a server, described by the server itself."""

    def __init__(self, address, name):
        self.address = address
        self.channel = grpc.insecure_channel(address)
        try:
            grpc.channel_ready_future(self.channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            print(f"nothing answers at {address}", file=sys.stderr)
            sys.exit(2)
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.name = name
        self.methods = pool.FindServiceByName(name).methods_by_name

    def call(self, method, request, **how):
        """Calls with a request given as protobuf JSON; answers with a message."""
        method = self.methods[method]
        message = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
        return self.raw(method.name, message.SerializeToString(), **how)

    def unlisted(self, path):
        """Calls what the server does not list."""
        call = self.channel.unary_unary(path, request_serializer=lambda sent: sent, response_deserializer=lambda answer: answer)
        return call(b"", timeout=CALL_SECONDS)

    def raw(self, method, payload, **how):
        method = self.methods[method]
        answer = message_factory.GetMessageClass(method.output_type)
        call = self.channel.unary_unary(
            f"/{self.name}/{method.name}", request_serializer=lambda sent: sent, response_deserializer=answer.FromString
        )
        return call(payload, timeout=CALL_SECONDS, **how)


def over_http(service, path, query=None, body=None):
    """A call over HTTP: its status and its JSON. With a body it is a POST."""
    url = f"http://{service.address}{path}?{urllib.parse.urlencode(query or {}, doseq=True)}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


class Checks:
    def __init__(self):
        self.failed = []
        self.count = 0

    def that(self, name, held, otherwise=""):
        self.count += 1
        if not held:
            self.failed.append(name)
        print(f"{'ok  ' if held else 'FAIL'} {name}{'' if held else f': {otherwise}'}")

    def refused(self, name, code, reason, call, field=None):
        """The call must fail with this code and reason, and name this field if one is given."""
        try:
            answer = call()
        except grpc.RpcError as error:
            problem = self.problem(error, code, reason, field)
        else:
            problem = f"accepted: {answer}"
        self.that(f"{name}: {code} {reason}", problem is None, problem)

    @staticmethod
    def problem(error, code, reason, field):
        if error.code() != grpc.StatusCode[code]:
            return f"{error.code().name}: {error.details()}"
        status = rpc_status.from_call(error)
        if status is None:
            return f"no grpc-status-details-bin with {error.details()!r}"
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad)
        if (info.reason, info.domain) != (reason, DOMAIN):
            return f"{info.domain}/{info.reason}: {error.details()}"
        fields = [violation.field for violation in bad.field_violations]
        if field is not None and field not in fields:
            return f"the violations name {fields}, not {field}"
        if not all(violation.description for violation in bad.field_violations):
            return "a violation without a description"
        return None


def same(one, other):
    """Whether two messages say the same; those of two servers are of two Python classes."""
    return json_format.MessageToDict(one) == json_format.MessageToDict(other)


def uuid7():
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


class Till:
    """Makes requests for one store from its menu."""

    def __init__(self, ordering, store):
        self.ordering = ordering
        self.store = store
        self.menu = ordering.call("GetMenu", {"store_id": store}).menu
        self.currency = self.menu.currency_code
        self.item = next(item for item in self.menu.items if not item.sold_out and item.options)
        self.sold_out = next((item for item in self.menu.items if item.sold_out), None)

    def money(self, amount, currency=None):
        return {"currency_code": currency or self.currency, "amount_minor": str(amount)}

    def line(self, **changes):
        return {"line_id": "l-1", "sku": self.item.sku, "quantity": 1, "options": []} | changes

    def draft(self, **changes):
        return {
            "store_id": self.store,
            "terminal_id": "stock-client",
            "channel": "CHANNEL_COUNTER",
            "service_mode": "SERVICE_MODE_TAKE_AWAY",
            "lines": [self.line()],
        } | changes

    def card(self, minor, **changes):
        return {"tender_id": "t-1", "kind": "TENDER_KIND_CARD", "amount": self.money(minor)} | changes

    def order(self, draft=None, **changes):
        """A request that is right, with the server's own price, and then changed."""
        draft = draft or self.draft()
        if "tenders" not in changes:
            due = self.ordering.call("QuoteOrder", {"draft": draft}).priced.amount_due.amount_minor
            changes["tenders"] = [self.card(due)]
        return {"order_id": uuid7(), "draft": draft, "client_time": now()} | changes

    def place(self, request, **how):
        return self.ordering.call("PlaceOrder", request, **how)

    def command(self, method, order_id, **more):
        request = {"store_id": self.store, "order_id": order_id, "request_id": uuid7(), "client_time": now(), "terminal_id": "stock-client"}
        return self.ordering.call(method, request | more)


def all_orders(query, store, date, token, page_size):
    orders, page = [], ""
    while True:
        request = {"store_id": store, "business_date": date, "page_size": page_size, "page_token": page, "at_least": [token]}
        answer = query.call("ListOrders", request)
        orders += [order.order_id for order in answer.orders]
        page = answer.next_page_token
        if not page:
            return orders


def sell(check, till, member, query):
    """An order's life, as a till sees it. Answers with the placed order's request and the last answer."""
    phone = f"+8210{secrets.randbelow(10**8):08}"
    registration = {"request_id": uuid7(), "display_name": "Stock Client", "phone_number": phone, "tier": "TIER_GOLD"}
    registered = member.call("RegisterMember", registration).member
    known = member.call("CheckMembership", {"phone_number": phone})
    check.that("a member is known by phone", known.is_member and known.member_id == registered.member_id, known)
    stranger = member.call("CheckMembership", {"member_id": uuid7()})
    check.that("nobody else is a member", not stranger.is_member and not stranger.member_id, stranger)

    draft = till.draft(member_id=registered.member_id)
    draft["lines"] = [till.line(quantity=2, options=[{"option_id": till.item.options[0].option_id, "quantity": 1}])]
    quoted = till.ordering.call("QuoteOrder", {"draft": draft}).priced
    expected = 2 * (till.item.price.amount_minor + till.item.options[0].price_delta.amount_minor)
    check.that("the quote is the menu's price", quoted.gross.amount_minor == expected, f"{quoted.gross} for {expected}")
    request = till.order(draft, expected_total=till.money(quoted.amount_due.amount_minor))
    placed = till.place(request)
    order = placed.order
    check.that("an order is placed", not placed.replayed and order.order_id == request["order_id"] and order.ticket_number >= 1, placed)

    read = query.call("GetOrder", {"store_id": till.store, "order_id": order.order_id, "at_least": [placed.consistency_token]})
    check.that("it is read back at once by its token", same(read.order, order), f"{read.order}\ninstead of\n{order}")
    again = till.place(request)
    check.that("its repeat answers the same", again.replayed and again.order == order, again)
    outcome = till.ordering.call("GetCommandOutcome", {"store_id": till.store, "order_id": order.order_id})
    check.that("its outcome is known", outcome.recorded and outcome.order == order, outcome)

    second = till.place(till.order())
    token, date = second.consistency_token, order.business_date
    orders = all_orders(query, till.store, date, token, page_size=1)
    check.that("both are listed, page by page, once", orders.count(order.order_id) == 1 and orders.count(second.order.order_id) == 1, orders)
    check.that("pages of any size list the same", all_orders(query, till.store, date, token, page_size=100) == orders, orders)
    sales = query.call("GetDailySales", {"store_id": till.store, "business_date": date, "at_least": [token]})
    check.that("the day's sales count them", sales.orders == len(orders) == sales.sales.count, sales)
    vat = sum(tax.vat.amount_minor for tax in sales.sales.taxes)
    check.that("the day's VAT is the sum of its classes", sales.vat.amount_minor == vat, sales)

    answer = None
    for method, status in [("StartPreparation", 2), ("MarkReady", 3), ("CompleteOrder", 4)]:
        answer = till.command(method, order.order_id)
        request_read = {"store_id": till.store, "order_id": order.order_id, "at_least": [answer.consistency_token]}
        read = query.call("GetOrder", request_read).order
        check.that(f"{method} is seen at once", answer.order.status == read.status == status, read.status)
    cancelled = till.command("CancelOrder", second.order.order_id, reason_code="customer")
    check.that("an order is cancelled", cancelled.order.status == 5, cancelled.order.status)
    return request, cancelled


def say_the_same(check, till, query, placed):
    """What is said over HTTP is what is said over gRPC, refusals too."""
    store, done = f"/v1/stores/{till.store}", placed["order_id"]
    again = till.place(placed)
    token, date = again.consistency_token, again.order.business_date
    known, nobody = {"store_id": till.store}, uuid7()
    listing = {"business_date": date, "statuses": ["ORDER_STATUS_COMPLETED", "ORDER_STATUS_CANCELLED"], "page_size": 7, "at_least": [token]}
    for service, method, request, path, asked, body in [
        (till.ordering, "GetMenu", known, f"{store}/menu", None, None),
        (till.ordering, "PlaceOrder", placed, f"{store}/orders", None, placed),
        (query, "GetOrder", known | {"order_id": done, "at_least": [token]}, f"{store}/orders/{done}", {"atLeast": token}, None),
        (query, "ListOrders", known | listing, f"{store}/orders", listing, None),
        (query, "GetDailySales", known | {"business_date": date}, f"{store}/days/{date}/sales", None, None),
        (query, "ListStores", {}, "/v1/stores", None, None),
        (query, "GetOrder", known | {"order_id": nobody}, f"{store}/orders/{nobody}", None, None),
        (query, "GetOrder", {"store_id": "Gang nam", "order_id": "4/2"}, "/v1/stores/Gang%20nam/orders/4%2F2", None, None),
        (till.ordering, "GetMenu", {"store_id": "atlantis"}, "/v1/stores/atlantis/menu", None, None),
        (till.ordering, "PlaceOrder", placed | {"tenders": []}, f"{store}/orders", None, placed | {"tenders": []}),
    ]:
        code, answer = over_http(service, path, asked, body)
        try:
            expected, right = json_format.MessageToDict(service.call(method, request)), code == 200
        except grpc.RpcError as error:
            expected, right = json_format.MessageToDict(rpc_status.from_call(error)), code >= 400
        check.that(f"{method} at {path} says the same over HTTP", right and answer == expected, f"{code} {answer}\ninstead of\n{expected}")


def refuse(check, till, member, query, placed):
    """Everything that bad input gets."""
    ordering, price = till.ordering, till.item.price.amount_minor

    def place(name, code, reason, field=None, draft=None, **changes):
        # A draft that cannot be priced is paid with any amount: it is refused before that matters.
        if draft is not None:
            changes.setdefault("tenders", [till.card(price)])
        request = till.order(draft, **changes)
        check.refused(name, code, reason, lambda: till.place(request), field)

    invalid = ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    place("an unknown store", "NOT_FOUND", "UNKNOWN_STORE", draft=till.draft(store_id="atlantis"))
    place("a malformed store", *invalid, "draft.store_id", draft=till.draft(store_id="Gang nam"))
    place("an unknown item", "NOT_FOUND", "UNKNOWN_ITEM", "draft.lines[0].sku", till.draft(lines=[till.line(sku="unobtainium")]))
    options = [{"option_id": "gold-leaf", "quantity": 1}]
    place("an unknown option", "NOT_FOUND", "UNKNOWN_OPTION", draft=till.draft(lines=[till.line(options=options)]))
    if till.sold_out is not None:
        lines = [till.line(sku=till.sold_out.sku)]
        place("a sold-out item", "FAILED_PRECONDITION", "SOLD_OUT", "draft.lines[0].sku", till.draft(lines=lines))
    for quantity in (0, -1, 1000, 2**31 - 1):
        place(f"a quantity of {quantity}", *invalid, "draft.lines[0].quantity", till.draft(lines=[till.line(quantity=quantity)]))
    lines = [till.line(line_id=f"l-{index}") for index in range(201)]
    place("201 lines", "INVALID_ARGUMENT", "TOO_MANY_LINES", "draft.lines", till.draft(lines=lines))
    place("no line", *invalid, "draft.lines", till.draft(lines=[]))

    place("a negative tender", *invalid, "tenders[0].amount", tenders=[till.card(-1)])
    lines = [till.line(quantity=999, till_unit_price=till.money(INT64_MAX))]
    place("a price that overflows", "INVALID_ARGUMENT", "AMOUNT_OUT_OF_RANGE", draft=till.draft(lines=lines, pricing="PRICING_TILL"))
    tenders = [till.card(INT64_MAX), till.card(INT64_MAX, tender_id="t-2")]
    place("tenders that overflow", "INVALID_ARGUMENT", "AMOUNT_OUT_OF_RANGE", tenders=tenders)
    place("tenders that pay too little", "INVALID_ARGUMENT", "TENDERS_DO_NOT_SUM", "tenders", tenders=[till.card(price - 1)])
    place("tenders that pay too much", "INVALID_ARGUMENT", "TENDERS_DO_NOT_SUM", "tenders", tenders=[till.card(price + 1)])
    place("no tender", "INVALID_ARGUMENT", "TENDERS_DO_NOT_SUM", "tenders", tenders=[])
    change = till.card(price, tendered=till.money(price + 1000), change=till.money(1000))
    place("change from a card", "INVALID_ARGUMENT", "CHANGE_ONLY_FROM_CASH", "tenders[0].change", tenders=[change])
    cash = [till.card(price - 1, kind="TENDER_KIND_CASH"), till.card(1, kind="TENDER_KIND_CASH", tender_id="t-2")]
    place("two cash tenders", "INVALID_ARGUMENT", "TOO_MANY_CASH_TENDERS", "tenders", tenders=cash)
    pounds = till.card(price, amount=till.money(price, "GBP" if till.currency != "GBP" else "KRW"))
    place("another currency", "INVALID_ARGUMENT", "WRONG_CURRENCY", "tenders[0].amount", tenders=[pounds])
    place("a stale total", "FAILED_PRECONDITION", "PRICE_CHANGED", "expected_total", expected_total=till.money(price - 500))

    place("an order id that is a UUIDv4", *invalid, "order_id", order_id=str(uuid.uuid4()))
    place("an order id that is no UUID", *invalid, "order_id", order_id="42")
    other = copy.deepcopy(placed)
    other["draft"]["lines"][0]["quantity"] += 1
    check.refused("an order id with other content", "ALREADY_EXISTS", "ID_REUSED", lambda: till.place(other))
    several = till.order(order_id="42", tenders=[till.card(-1)])
    for field in ("order_id", "tenders[0].amount"):
        check.refused(f"all mistakes at once, {field} too", *invalid, lambda: till.place(several), field)

    done = placed["order_id"]
    for method in ("StartPreparation", "MarkReady", "CompleteOrder"):
        refusal = (f"{method} of a completed order", "FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
        check.refused(*refusal, lambda method=method: till.command(method, done))
    refusal = ("CancelOrder of a completed order", "FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    check.refused(*refusal, lambda: till.command("CancelOrder", done, reason_code="customer"))
    check.refused("a command to an unknown order", "NOT_FOUND", "UNKNOWN_ORDER", lambda: till.command("StartPreparation", uuid7()))
    attach = lambda: till.command("AttachMember", done, member_id=uuid7())
    check.refused("an unknown member", "NOT_FOUND", "UNKNOWN_MEMBER", attach, "member_id")
    check.refused("an unknown member, asked for", "NOT_FOUND", "UNKNOWN_MEMBER", lambda: member.call("GetMember", {"member_id": uuid7()}))
    check.refused("a malformed phone number", *invalid, lambda: member.call("CheckMembership", {"phone_number": "010"}), "phone_number")

    oversized = till.order()
    oversized["draft"]["staff_id"] = "x" * 5_000_000
    check.refused("an oversized message", "OUT_OF_RANGE", "MESSAGE_TOO_LARGE", lambda: till.place(oversized))
    ask = lambda **how: lambda: ordering.call("GetMenu", {"store_id": till.store}, **how)
    bomb = lambda: ordering.call("PlaceOrder", oversized, compression=grpc.Compression.Gzip)
    check.refused("a small message that is large once it is decompressed", "OUT_OF_RANGE", "MESSAGE_TOO_LARGE", bomb)
    deflated = ask(compression=grpc.Compression.Deflate)
    check.refused("a compression that is not read", "UNIMPLEMENTED", "UNSUPPORTED_COMPRESSION", deflated)
    check.refused("too much metadata", "OUT_OF_RANGE", "METADATA_TOO_LARGE", ask(metadata=[("x-much", "m" * 20_000)]))
    unlisted = lambda service, path: lambda: service.unlisted(path)
    for service in (member, ordering, query):
        guess = unlisted(service, f"/{service.name}/Guess")
        check.refused(f"an unknown method of {service.name}", "UNIMPLEMENTED", "UNKNOWN_METHOD", guess)
    elsewhere = unlisted(ordering, "/doppio.query.v1.QueryService/GetOrder")
    check.refused("a service that is at another port", "UNIMPLEMENTED", "UNKNOWN_METHOD", elsewhere)
    health = Service(ordering.address, "grpc.health.v1.Health")
    nobody = lambda: health.call("Check", {"service": "nobody.v1.Nowhere"})
    check.refused("the health of an unknown service", "NOT_FOUND", "UNKNOWN_SERVICE", nobody)

    check.refused("bytes that are no message", *invalid, lambda: ordering.raw("PlaceOrder", b"\xff\xff\xff"))

    store = {"store_id": till.store}
    check.refused("a menu of an unknown store", "NOT_FOUND", "UNKNOWN_STORE", lambda: ordering.call("GetMenu", {"store_id": "atlantis"}))
    read = lambda: query.call("GetOrder", store | {"order_id": done, "at_least": ["nonsense"]})
    check.refused("a malformed consistency token", "INVALID_ARGUMENT", "MALFORMED_CONSISTENCY_TOKEN", read, "at_least[0]")
    listing = lambda: query.call("ListOrders", store | {"page_token": "nonsense"})
    check.refused("a malformed page token", "INVALID_ARGUMENT", "MALFORMED_PAGE_TOKEN", listing, "page_token")
    check.refused("an unknown order, read", "NOT_FOUND", "UNKNOWN_ORDER", lambda: query.call("GetOrder", store | {"order_id": uuid7()}))
    unknown = lambda: query.call("GetDailySales", {"store_id": "atlantis"})
    check.refused("sales of an unknown store", "NOT_FOUND", "UNKNOWN_STORE", unknown)
    date = lambda: query.call("GetDailySales", store | {"business_date": "2026-02-30"})
    check.refused("a date that does not exist", *invalid, date, "business_date")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--member", default="localhost:7401", metavar="HOST:PORT")
    parser.add_argument("--ordering", default="localhost:7402", metavar="HOST:PORT")
    parser.add_argument("--query", default="localhost:7403", metavar="HOST:PORT")
    parser.add_argument("--store", default="gangnam", metavar="ID")
    arguments = parser.parse_args()
    member = Service(arguments.member, "doppio.member.v1.MemberService")
    ordering = Service(arguments.ordering, "doppio.ordering.v1.OrderingService")
    query = Service(arguments.query, "doppio.query.v1.QueryService")

    check, till = Checks(), Till(ordering, arguments.store)
    placed, last = sell(check, till, member, query)
    say_the_same(check, till, query, placed)
    before = all_orders(query, till.store, last.order.business_date, last.consistency_token, page_size=1000)
    refuse(check, till, member, query, placed)

    final = till.place(till.order(), compression=grpc.Compression.Gzip)
    after = all_orders(query, till.store, final.order.business_date, final.consistency_token, page_size=1000)
    appended = final.order.revision - last.order.revision
    check.that("nothing that was refused is in the ledger", appended == 1, f"{appended} records since, instead of one")
    if final.order.business_date == last.order.business_date:
        check.that("nothing that was refused is in the list", after == before + [final.order.order_id], after)
    print(f"{check.count - len(check.failed)} of {check.count} checks held")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
