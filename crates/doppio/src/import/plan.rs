//! What an import would record, before any log is looked at.

use std::collections::{HashMap, HashSet};

use contract::{Money, OrderId};

use super::mistake::Mistakes;
use super::recalled::Recalled;
use super::receipts::{Receipt, Receipts};
use super::returns::{Refund, Taken, refund_request, refunds};
use super::sale::{Sold, Till, order_id, sale};
use super::stores::Shop;

pub struct Plan {
    pub file: String,
    pub till: Till,
    pub shops: Vec<Shop>,
    pub receipts: Vec<Planned>,
}

pub struct Planned {
    pub receipt: Receipt,
    /// Of what the file itself lists; of what an earlier import sold after [`Plan::take_back`].
    pub refunds: Vec<Refund>,
    pub gross: Money,
    pub net: Money,
    pub units: i64,
}

impl Plan {
    /// Prices every receipt and settles what was paid; what does not add up is a mistake.
    pub fn of(file: &str, receipts: Receipts, till: Till, mistakes: &mut Mistakes) -> Self {
        let Receipts { shops, receipts } = receipts;
        let mut sold: HashMap<OrderId, Sold> = HashMap::new();
        let mut taken = Taken::new();
        let mut planned = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let mut own = Planned {
                refunds: Vec::new(),
                gross: Money::ZERO,
                net: Money::ZERO,
                units: receipt.lines.iter().map(|line| line.units).sum(),
                receipt,
            };
            let receipt = &own.receipt;
            if !receipt.lines.is_empty() {
                match sale(receipt, &shops[receipt.shop], &till) {
                    Ok(sale) => {
                        (own.gross, own.net) = (sale.gross, sale.net);
                        sold.insert(sale.sold.order_id, sale.sold);
                    }
                    Err((column, what)) => mistakes.note(file, receipt.row, column, what),
                }
            }
            let mut sales = receipt.returns.iter().map(|back| order_id(&back.sale));
            // Other sales may be recorded, or have a mistake that is told: their returns are planned when the log is known.
            if sales.all(|sale| sold.contains_key(&sale)) {
                let find = |sale| sold.get(&sale).cloned();
                own.refunds = refunds(file, receipt, find, &mut taken, mistakes);
            }
            planned.push(own);
        }
        Self {
            file: file.to_owned(),
            till,
            shops,
            receipts: planned,
        }
    }

    /// Sales that returns name, with their shops.
    #[must_use]
    pub fn sales_named(&self) -> Vec<(usize, OrderId)> {
        let of = |planned: &Planned| {
            let shop = planned.receipt.shop;
            let sales = planned.receipt.returns.iter();
            sales
                .map(move |back| (shop, order_id(&back.sale)))
                .collect::<Vec<_>>()
        };
        self.receipts.iter().flat_map(of).collect()
    }

    /// Plans all returns again, knowing what is recorded of the sales that they name.
    pub fn take_back(&mut self, recorded: &HashMap<OrderId, Recalled>, mistakes: &mut Mistakes) {
        let named: HashSet<OrderId> = self.sales_named().into_iter().map(|(_, id)| id).collect();
        let mut own_requests = HashSet::new();
        let mut sold: HashMap<OrderId, Sold> = HashMap::new();
        for (id, recalled) in recorded {
            sold.insert(*id, recalled.sold.clone());
        }
        for planned in &self.receipts {
            let receipt = &planned.receipt;
            for back in &receipt.returns {
                own_requests.insert(refund_request(&receipt.identity, order_id(&back.sale)).uuid());
            }
            if named.contains(&order_id(&receipt.identity))
                && !receipt.lines.is_empty()
                && let Ok(sale) = sale(receipt, &self.shops[receipt.shop], &self.till)
            {
                sold.insert(sale.sold.order_id, sale.sold);
            }
        }
        // What other imports and tills have taken back is gone; what this file takes back again is its own.
        let mut taken = Taken::new();
        for (id, recalled) in recorded {
            for back in &recalled.taken {
                if !own_requests.contains(&back.request) {
                    *taken.entry((*id, back.line_id.clone())).or_default() += back.units;
                }
            }
        }
        for planned in &mut self.receipts {
            let find = |sale| sold.get(&sale).cloned();
            let receipt = &planned.receipt;
            planned.refunds = refunds(&self.file, receipt, find, &mut taken, mistakes);
        }
    }
}
