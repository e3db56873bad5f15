//! Lists come in pages; people and scripts get them whole.

use std::future::Future;

use contract::api::query::{
    ExplainFigureResponse, ListOrdersResponse, ListStoresResponse, ListZReportsResponse,
};
use tonic::{Response, Status};

/// Rows asked for at once.
pub const PAGE_SIZE: i32 = 500;

/// An answer that is one page of a list.
pub trait Page: Sized {
    /// Empty on the last page.
    fn next_page_token(&mut self) -> &mut String;
    fn rows(&self) -> usize;
    /// Takes in the page that follows.
    fn extend(&mut self, next: Self);
    fn truncate(&mut self, rows: usize);
}

impl Page for ListOrdersResponse {
    fn next_page_token(&mut self) -> &mut String {
        &mut self.next_page_token
    }

    fn rows(&self) -> usize {
        self.orders.len()
    }

    fn extend(&mut self, next: Self) {
        self.orders.extend(next.orders);
        self.next_page_token = next.next_page_token;
    }

    fn truncate(&mut self, rows: usize) {
        self.orders.truncate(rows);
    }
}

impl Page for ListZReportsResponse {
    fn next_page_token(&mut self) -> &mut String {
        &mut self.next_page_token
    }

    fn rows(&self) -> usize {
        self.reports.len()
    }

    fn extend(&mut self, next: Self) {
        self.reports.extend(next.reports);
        self.differing_days.extend(next.differing_days);
        self.next_page_token = next.next_page_token;
    }

    fn truncate(&mut self, rows: usize) {
        self.reports.truncate(rows);
    }
}

impl Page for ListStoresResponse {
    fn next_page_token(&mut self) -> &mut String {
        &mut self.next_page_token
    }

    fn rows(&self) -> usize {
        self.stores.len()
    }

    fn extend(&mut self, next: Self) {
        self.stores.extend(next.stores);
        self.next_page_token = next.next_page_token;
    }

    fn truncate(&mut self, rows: usize) {
        self.stores.truncate(rows);
    }
}

impl Page for ExplainFigureResponse {
    fn next_page_token(&mut self) -> &mut String {
        &mut self.next_page_token
    }

    fn rows(&self) -> usize {
        self.facts.len()
    }

    fn extend(&mut self, next: Self) {
        self.facts.extend(next.facts);
        self.next_page_token = next.next_page_token;
    }

    fn truncate(&mut self, rows: usize) {
        self.facts.truncate(rows);
    }
}

/// The whole list, or its first `limit` rows; then the answer's page token is not empty, because there is more.
pub async fn whole<P: Page, F>(
    limit: Option<usize>,
    mut ask: impl FnMut(String) -> F,
) -> Result<P, Status>
where
    F: Future<Output = Result<Response<P>, Status>>,
{
    let mut list = ask(String::new()).await?.into_inner();
    loop {
        let most = limit.unwrap_or(usize::MAX);
        if list.rows() > most {
            list.truncate(most);
            "more".clone_into(list.next_page_token());
        }
        let token = std::mem::take(list.next_page_token());
        if token.is_empty() {
            return Ok(list);
        }
        if list.rows() >= most {
            *list.next_page_token() = token;
            return Ok(list);
        }
        let next = ask(token).await?.into_inner();
        list.extend(next);
    }
}

/// What people are told where a limit cut a list off.
pub fn left(list: &mut impl Page) -> String {
    if list.next_page_token().is_empty() {
        String::new()
    } else {
        format!("\nthe first {}; there are more", list.rows())
    }
}

#[cfg(test)]
mod tests {
    use contract::api::query::StoreSummary;

    use super::*;

    /// 1,234 stores, in pages of 500.
    async fn page(token: String) -> Result<Response<ListStoresResponse>, Status> {
        let from: usize = token.parse().unwrap_or(0);
        let to = (from + 500).min(1_234);
        let stores = (from..to).map(|index| StoreSummary {
            store_id: index.to_string(),
            ..StoreSummary::default()
        });
        Ok(Response::new(ListStoresResponse {
            stores: stores.collect(),
            next_page_token: if to < 1_234 {
                to.to_string()
            } else {
                String::new()
            },
        }))
    }

    #[tokio::test]
    async fn all_pages_are_one_list() {
        let mut list = whole(None, page).await.unwrap();
        assert_eq!(list.stores.len(), 1_234);
        assert_eq!(list.stores[1_233].store_id, "1233");
        assert_eq!(left(&mut list), "");
    }

    #[tokio::test]
    async fn a_limit_says_that_there_is_more() {
        for limit in [1, 499, 500, 501, 1_000, 1_233] {
            let mut list = whole(Some(limit), page).await.unwrap();
            assert_eq!(list.stores.len(), limit);
            assert_eq!(
                left(&mut list),
                format!("\nthe first {limit}; there are more")
            );
        }
        for limit in [1_234, 5_000] {
            let mut list = whole(Some(limit), page).await.unwrap();
            assert_eq!((list.stores.len(), left(&mut list)), (1_234, String::new()));
        }
    }
}
