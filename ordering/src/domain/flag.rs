/// An oddity that was noticed when an order was taken, and no reason to refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// The till's clock differs from the server's by more than the tolerance.
    ClientClockOdd,
    /// The server's clock and the log server's differ by more than the tolerance.
    ServerClockOdd,
    /// The time in the order's id is far from the server's.
    OrderIdTimeOdd,
    /// A price of the till differs from the menu's.
    TillPriceDiffers,
    /// A tax class of the till differs from the menu's for the item.
    TillTaxDiffers,
    /// The menu does not have an item that the till has sold.
    UnknownItem,
    /// The menu does not have an option of the item that the till has sold.
    UnknownOption,
    /// The catalog does not have a tax class that the till states; the menu's own counts.
    UnknownTaxClass,
    /// The menu does not have a promotion that the till names.
    UnknownPromotion,
    /// More of an option than the menu allows.
    QuantityOdd,
    /// More cash was taken out of a drawer than it should have held, as an approver wished.
    DrawerOverdrawn,
}

impl Flag {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClockOdd => "CLIENT_CLOCK_ODD",
            Self::ServerClockOdd => "SERVER_CLOCK_ODD",
            Self::OrderIdTimeOdd => "ORDER_ID_TIME_ODD",
            Self::TillPriceDiffers => "TILL_PRICE_DIFFERS",
            Self::TillTaxDiffers => "TILL_TAX_DIFFERS",
            Self::UnknownItem => "UNKNOWN_ITEM",
            Self::UnknownOption => "UNKNOWN_OPTION",
            Self::UnknownTaxClass => "UNKNOWN_TAX_CLASS",
            Self::UnknownPromotion => "UNKNOWN_PROMOTION",
            Self::QuantityOdd => "QUANTITY_ODD",
            Self::DrawerOverdrawn => "DRAWER_OVERDRAWN",
        }
    }
}
