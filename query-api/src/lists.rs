//! The lists of a day as the API says them.

use contract::api::query::{DayList as List, ListDayRowsRequest, ListDayRowsResponse};
use contract::api::types::{CategorySales, DayLists, DiscountSales, ItemSales, LocalizedText};
use contract::list_digest::read_discount_key;
use contract::{Currency, Fields, Money};
use prost::Message as _;
use read_model::{DayList, ListPage, ListRow};
use tokio::time::Instant;

use crate::error::QueryError;
use crate::page;
use crate::queries::Queries;
use crate::request::{by, freshness, known, tokens};

/// Rows of each list that a report's answer holds.
pub(crate) const ROWS_IN_A_REPORT: u32 = 1_000;
const DEFAULT_ROWS: u32 = 100;
const LONGEST_ROWS: u32 = 1_000;
/// Rows end before they exceed this many bytes: a stock client takes answers of 4 MiB.
const MAX_ROW_BYTES: usize = 2 * 1024 * 1024;

/// As many rows as fit into an answer, and how many those are. `more`: there are more than these.
pub(crate) fn day_lists(rows: &[ListRow], mut more: bool, currency: Currency) -> (DayLists, usize) {
    let money = |minor| Some(currency.amount(Money::new(minor)));
    let (mut lists, mut bytes, mut taken) = (DayLists::default(), 0, 0);
    for row in rows {
        let [gross, discount, net] =
            [row.amounts.gross, row.amounts.discount, row.amounts.net].map(money);
        match row.list {
            DayList::Items => {
                let item = ItemSales {
                    sku: row.key.clone(),
                    name: Some(LocalizedText {
                        text: row.name.clone(),
                    }),
                    category: row.category.clone(),
                    units: row.amounts.count,
                    gross,
                    discount,
                    net,
                };
                bytes += item.encoded_len();
                lists.items.push(item);
            }
            DayList::Categories => {
                let category = CategorySales {
                    category: row.key.clone(),
                    units: row.amounts.count,
                    gross,
                    discount,
                    net,
                };
                bytes += category.encoded_len();
                lists.categories.push(category);
            }
            DayList::Discounts => {
                let (source, id) = read_discount_key(&row.key).unwrap_or_default();
                lists.discounts.push(DiscountSales {
                    source: source.into(),
                    discount_id: id.to_owned(),
                    count: row.amounts.count,
                    amount: discount,
                });
            }
        }
        taken += 1;
        if bytes > MAX_ROW_BYTES && taken < rows.len() {
            more = true;
            break;
        }
    }
    lists.more = more;
    (lists, taken)
}

impl Queries {
    pub(crate) async fn day_rows(
        &self,
        request: ListDayRowsRequest,
        deadline: Instant,
    ) -> Result<ListDayRowsResponse, QueryError> {
        let (store, date, list, size) = Fields::read(|fields| {
            let store = fields.store_id(&request.store_id);
            let date = fields.business_date(&request.business_date);
            let list = match List::try_from(request.list) {
                Ok(List::Items) => Ok(DayList::Items),
                Ok(List::Categories) => Ok(DayList::Categories),
                Ok(List::Discounts) => Ok(DayList::Discounts),
                Ok(List::Unspecified) | Err(_) => Err("name items, categories or discounts"),
            };
            let list = fields.take("list", list);
            let size = page::page_size(fields, request.page_size, DEFAULT_ROWS, LONGEST_ROWS);
            Some((store?, date?, list?, size?))
        })?;
        let (size_bytes, list_bytes) =
            (request.page_size.to_be_bytes(), request.list.to_be_bytes());
        let bound: [&[u8]; 5] = [
            b"day-rows",
            store.as_str().as_bytes(),
            request.business_date.as_bytes(),
            &list_bytes,
            &size_bytes,
        ];
        let after = match request.page_token.as_str() {
            "" => String::new(),
            token => {
                String::from_utf8(page::read(&bound, token)?).map_err(|_| page::foreign_token())?
            }
        };
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let query = ListPage {
            store: store.clone(),
            date,
            list,
            after,
            limit: size + 1,
        };
        let seen = by(deadline, self.settlement.list(&query)).await?;
        let seen = self.seen(seen, &store, deadline).await?;
        let currency = known(&seen.store)?;
        let found = seen
            .found
            .ok_or_else(|| self.without_day(&seen.store, date))?;
        let asked = found.len().min(size as usize);
        let more = found.len() > asked;
        let (rows, taken) = day_lists(&found[..asked], more, currency);
        let next_page_token = match found[..taken].last() {
            Some(last) if rows.more => page::write(&bound, last.key.as_bytes()),
            _ => String::new(),
        };
        Ok(ListDayRowsResponse {
            rows: Some(rows),
            next_page_token,
            freshness: freshness(&seen.store, seen.epoch),
        })
    }
}
