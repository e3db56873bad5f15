"""Fetches every export over HTTP, as CSV and as Parquet, holds one against the other, and prints what the columns of amounts sum to."""

import csv
import datetime
import io
import json
import sys
import urllib.error
import urllib.request

import pandas
import pyarrow
import pyarrow.parquet

base, query = sys.argv[1:]


def fetch(path):
    with urllib.request.urlopen(f"{base}{path}", timeout=30) as answer:
        return answer.headers, answer.read()


def text(value):
    """A Parquet value as the CSV writes it."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        assert value.utcoffset() == datetime.timedelta(0), value
        whole = value.strftime("%Y-%m-%dT%H:%M:%S")
        fraction = f".{value.microsecond:06}".rstrip("0") if value.microsecond else ""
        return f"{whole}{fraction}Z"
    return str(value)


TYPES = {
    "integer": pyarrow.int64(),
    "text": pyarrow.string(),
    "date": pyarrow.date32(),
    "timestamp": pyarrow.timestamp("us", tz="UTC"),
}
NOT_SUMMED = {"ticket_number", "document_number", "local_hour", "line_index", "tax_rate_bp", "z_number", "currency_decimals"}
NOT_SUMMED |= {"grand_total_sales", "grand_total_returns"}
DECIMALS = {"KRW": 0, "GBP": 2}



def with_pandas(body, columns):
    """As docs/ANALYSTS.md reads a CSV: codes such as null, nan and 007 stay text."""
    texts = {column["name"]: str for column in columns if column["type"] == "text"}
    return pandas.read_csv(io.BytesIO(body), dtype=texts, keep_default_na=False, na_values=[""])


CODES = b'"drawer_id","taken"\n"null",1\n"nan",2\n"007",3\n"\'-1-1",4\n'
read = with_pandas(CODES, [{"name": "drawer_id", "type": "text"}, {"name": "taken", "type": "integer"}])
assert list(read["drawer_id"]) == ["null", "nan", "007", "'-1-1"] and read["taken"].sum() == 10, read

headers, index = fetch("/v1/export")
assert headers["content-type"] == "application/json"
sums = {}
for table in json.loads(index)["tables"]:
    name = table["table"]
    headers, body = fetch(f"/v1/export/{name}.csv?{query}")
    assert headers["content-type"].startswith("text/csv") and name in headers["content-disposition"]
    header, *rows = csv.reader(io.StringIO(body.decode("utf-8")))
    frame = with_pandas(body, table["columns"])
    for column in table["columns"]:
        if column["type"] in ("text", "integer"):
            seen = ["" if pandas.isna(value) else str(value) for value in frame[column["name"]]]
            place = header.index(column["name"])
            assert seen == [row[place] for row in rows], (name, column["name"], seen)
    headers, body = fetch(f"/v1/export/{name}.parquet?{query}")
    parquet = pyarrow.parquet.read_table(io.BytesIO(body))
    assert header == parquet.column_names == [column["name"] for column in table["columns"]], (header, parquet.column_names)
    for column in table["columns"]:
        field = parquet.schema.field(column["name"])
        assert (field.type, field.nullable) == (TYPES[column["type"]], column["nullable"]), field
    from_parquet = [[text(value) for value in row.values()] for row in parquet.to_pylist()]
    assert rows == from_parquet, (name, rows, from_parquet)
    for row in parquet.to_pylist():
        assert row["currency_decimals"] == DECIMALS[row["currency"]], (name, row)
    integers = [column["name"] for column in table["columns"] if column["type"] == "integer"]
    totals = {column: sum(parquet[column].to_pylist()) for column in integers if column not in NOT_SUMMED}
    sums[name] = {"rows": len(rows), **totals}
    for report in parquet.to_pylist() if name == "z_reports" else []:
        figures = json.loads(report["figures"])
        assert figures["turnover.net"] == report["turnover_net"], report
        assert isinstance(json.loads(report["differences"]), list)

for path, code, reason in [
    ("/nothing", 404, "NOT_FOUND"),
    ("/v1/export/orders.xls", 404, "NOT_FOUND"),
    ("/v1/export/orders.csv?stores=a", 400, "INVALID_ARGUMENT"),
    ("/v1/export/orders.csv?from=yesterday", 400, "INVALID_ARGUMENT"),
    ("/v1/export/orders.csv?store=nowhere", 404, "UNKNOWN_STORE"),
    ("/v1/export/orders.csv?at_least=x", 400, "MALFORMED_CONSISTENCY_TOKEN"),
]:
    try:
        fetch(path)
        raise AssertionError(f"{path} is answered")
    except urllib.error.HTTPError as refused:
        error = json.load(refused)
        assert (refused.code, error["details"][0]["reason"]) == (code, reason), (path, error)

print(json.dumps(sums))
