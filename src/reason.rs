use std::fmt;

use tonic::Code;

macro_rules! reasons {
    ($($name:ident $text:literal $code:ident $doc:literal;)*) => {
        /// Why a call was refused or failed: the `reason` of `google.rpc.ErrorInfo`, with one gRPC code each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $name,)*
        }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// What happened and what to do, in a sentence or two.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

reasons! {
    InvalidArgument "INVALID_ARGUMENT" InvalidArgument "A field is missing or malformed. The field violations name each; correct them.";
    WrongCurrency "WRONG_CURRENCY" InvalidArgument "An amount is in another currency than the store's. Use the currency of GetMenu.";
    CurrencyChanged "CURRENCY_CHANGED" FailedPrecondition "The catalog gives the store another currency than its ledger has for ever. Correct the catalog; nothing is sold until then.";
    TooManyLines "TOO_MANY_LINES" InvalidArgument "An order has at most 200 lines. Split it into several orders.";
    OrderTooLarge "ORDER_TOO_LARGE" InvalidArgument "The order's lines and options take more room than one record has. Split it into several orders.";
    AmountOutOfRange "AMOUNT_OUT_OF_RANGE" InvalidArgument "A price times its quantity, or a sum, does not fit. Correct quantities and amounts.";
    TendersDoNotSum "TENDERS_DO_NOT_SUM" InvalidArgument "The tenders do not pay the amount due exactly. The metadata has both figures.";
    ChangeOnlyFromCash "CHANGE_ONLY_FROM_CASH" InvalidArgument "Only a cash tender gives change. Charge the other tenders exactly.";
    TooManyCashTenders "TOO_MANY_CASH_TENDERS" InvalidArgument "An order takes at most one cash tender. Add them up.";
    OptionNotAllowed "OPTION_NOT_ALLOWED" InvalidArgument "The option exists, but not for this item, in this quantity or twice.";
    PromotionNotApplicable "PROMOTION_NOT_APPLICABLE" FailedPrecondition "The promotion code is unknown or does not apply to this order. Take it off.";
    MalformedConsistencyToken "MALFORMED_CONSISTENCY_TOKEN" InvalidArgument "A token in at_least is not one that Doppio gave out. Pass tokens on unchanged.";
    MalformedPageToken "MALFORMED_PAGE_TOKEN" InvalidArgument "The page token does not belong to this request. Start again without one.";
    MessageTooLarge "MESSAGE_TOO_LARGE" OutOfRange "The request is larger than the server takes.";
    MetadataTooLarge "METADATA_TOO_LARGE" OutOfRange "The call's metadata is more than the 16 KiB that the server takes. Send less of it.";
    UnknownMethod "UNKNOWN_METHOD" Unimplemented "This server has no such call. Check the port and the names: server reflection lists what it has.";
    OriginNotAllowed "ORIGIN_NOT_ALLOWED" PermissionDenied "The request comes from a page in a browser that may not call this server. An operator names the page's origin in the settings.";
    UnsupportedCompression "UNSUPPORTED_COMPRESSION" Unimplemented "The request is compressed in a way that the server does not read. Send it with gzip or zstd, or as it is.";
    UnknownService "UNKNOWN_SERVICE" NotFound "The server reports the health of no service of this name. Leave the name empty to ask about the whole server.";
    UnknownStore "UNKNOWN_STORE" NotFound "There is no store with this id.";
    UnknownItem "UNKNOWN_ITEM" NotFound "The store's menu has no item with this sku. Fetch the menu again.";
    UnknownOption "UNKNOWN_OPTION" NotFound "The item has no option with this id. Fetch the menu again.";
    UnknownMember "UNKNOWN_MEMBER" NotFound "There is no member with this id, or the member has withdrawn.";
    UnknownOrder "UNKNOWN_ORDER" NotFound "The store has no order with this id.";
    NotFound "NOT_FOUND" NotFound "There is nothing at this address. GET /v1/ lists what there is over HTTP.";
    NoSuchDay "NO_SUCH_DAY" NotFound "There is no such business day or report: the store has not traded on it, or it is not open, or not closed. The message says which.";
    IdReused "ID_REUSED" AlreadyExists "The id was used for a command with other content. Make a new id for a new command.";
    CardKeyUnknown "CARD_KEY_UNKNOWN" FailedPrecondition "The card was hashed with keys that this service does not have, or not for all cards, so it cannot say whether the bearer is a member. Give ordering and member the same card_keys, the older ones kept.";
    PhoneInUse "PHONE_IN_USE" AlreadyExists "Another member has this phone number.";
    CardInUse "CARD_IN_USE" AlreadyExists "Another member has this card.";
    MemberWithdrawn "MEMBER_WITHDRAWN" FailedPrecondition "The member has withdrawn; what was erased cannot be changed.";
    MemberChanged "MEMBER_CHANGED" Aborted "The member was changed since its etag was read. Read it again.";
    PriceChanged "PRICE_CHANGED" FailedPrecondition "The price is not the expected one. The metadata has the right one; ask the customer.";
    NoTaxRate "NO_TAX_RATE" FailedPrecondition "The item's tax class has no rate in force on the store's date. Correct the catalog.";
    SoldOut "SOLD_OUT" FailedPrecondition "The item is sold out. Take it off the order.";
    IllegalTransition "ILLEGAL_TRANSITION" FailedPrecondition "The order's state does not allow this command. The metadata names both.";
    AlreadyHasMember "ALREADY_HAS_MEMBER" FailedPrecondition "The order has a member already.";
    NothingLeftToRefund "NOTHING_LEFT_TO_REFUND" FailedPrecondition "More units are to be refunded than remain.";
    CancelInstead "CANCEL_INSTEAD" FailedPrecondition "The refund would take all that remains of an order that is not completed. Cancel the order.";
    DayNotCounted "NOTHING_TO_COUNT" FailedPrecondition "The drawer was counted at the close, or the day is not the last closed one.";
    QuoteInvalid "QUOTE_INVALID" InvalidArgument "The quote token is not one of this draft. Quote the draft again.";
    QuoteExpired "QUOTE_EXPIRED" FailedPrecondition "The quote is older than 15 minutes. Quote the draft again.";
    ReturnExceedsTender "RETURN_EXCEEDS_TENDER" FailedPrecondition "More is to be returned on a tender than was paid with it and not yet returned.";
    ReturnsDoNotSum "RETURNS_DO_NOT_SUM" InvalidArgument "The returned tenders do not sum to what is given back. The metadata has both figures.";
    DayClosed "DAY_CLOSED" FailedPrecondition "The business day is closed.";
    DayNotBegun "DAY_NOT_BEGUN" FailedPrecondition "The business day has not begun.";
    TooManyKinds "TOO_MANY_KINDS" FailedPrecondition "The business day has as many different drawers (50) or tax classes (64) as its report has room for. Use one of those it has; a drawer that is counted as empty leaves with the close.";
    DrawerOverdrawn "DRAWER_OVERDRAWN" FailedPrecondition "More cash is to be taken out of the drawer than it should hold. Take it from another drawer, or name an approver_id. The metadata has both amounts.";
    OpenOrders "OPEN_ORDERS" FailedPrecondition "Orders are still open. Complete, cancel or carry them over; the metadata names them.";
    ClockSuspect "CLOCK_SUSPECT" FailedPrecondition "Two of the terminal's clock, the server's and the log server's differ by more than five minutes, so that no business day can be opened or closed; the metadata says what each shows. Set the clock that is wrong, then repeat with the same id.";
    MemberUnavailable "MEMBER_UNAVAILABLE" Unavailable "The member service does not answer. Try again.";
    OutcomeUnknown "OUTCOME_UNKNOWN" Unavailable "Whether the command was recorded is not known yet. Repeat it with the same id.";
    LogUnavailable "LOG_UNAVAILABLE" Unavailable "The event log does not answer; nothing was recorded. Repeat with the same id.";
    ReadModelUnavailable "READ_MODEL_UNAVAILABLE" Unavailable "The read model's database does not answer. Try again.";
    DatabaseUnavailable "DATABASE_UNAVAILABLE" Unavailable "The service's database does not answer. Try again.";
    Overloaded "OVERLOADED" ResourceExhausted "Too many requests are waiting; nothing was recorded. Repeat with the same id after the given delay.";
    TooManyConflicts "TOO_MANY_CONFLICTS" Aborted "Other instances kept writing to this store's ledger; nothing was recorded. Repeat with the same id.";
    NothingProjected "NOTHING_PROJECTED" Unavailable "The read model is empty: nothing has been projected into it yet. Read again in a moment.";
    ReadTooLong "READ_TOO_LONG" DeadlineExceeded "The read took longer than the server allows, and was ended. Name fewer days or stores.";
    TooStale "TOO_STALE" DeadlineExceeded "The read model did not reach the consistency token in time. Read again, or with a longer deadline.";
    LedgerBroken "LEDGER_BROKEN" DataLoss "The store's ledger has a gap or altered bytes. Nothing is recorded for this store until it is repaired.";
    LogChanged "LOG_CHANGED" FailedPrecondition "The event log is not the one that the token, or this server's data, belongs to, or it has lost records since. An operator has to bring back the right log, or take this one up with `doppio log adopt`.";
    ProjectionQuarantined "PROJECTION_QUARANTINED" FailedPrecondition "The store's projection stands still because of a record that cannot be applied, before what the token names. See GetProjectionStatus; without the token the answer is what was applied, and says so.";
    UpgradeRequired "UPGRADE_REQUIRED" FailedPrecondition "The store's ledger was written by a newer version. Upgrade this server.";
    Internal "INTERNAL" Internal "Something went wrong inside the server; its log has the details.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
