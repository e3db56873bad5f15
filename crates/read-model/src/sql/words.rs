//! What the two databases call by different names, and how keys get into a statement: as one value, a JSON array of arrays, so that a
//! statement is the same text however many keys there are.
//!
//! | in a statement | PostgreSQL | SQLite |
//! |---|---|---|
//! | `EACH_OF($1)` | `jsonb_array_elements($1)` | `json_each($1)` |
//! | `UUID_OF(text)` | `uuid(text)` | `unhex(text)` |
//! | `NOW_US()` | microseconds since 1970 by the database's clock | the same |
//!
//! `EACH_OF` gives rows with a column `value`, of which `value ->> 0` is the first part of a key.

use contract::{BusinessDate, OrderId, StoreId};
use runtime::database::Engine;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// A statement made of nothing but this crate's own texts, in the words of a database.
pub(crate) fn in_words_of(engine: Engine, statement: &str) -> SqlStr {
    let [each, uuid, now_us] = match engine {
        Engine::Postgres => [
            "jsonb_array_elements(",
            "uuid(",
            "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
        ],
        Engine::Sqlite => [
            "json_each(",
            "unhex(",
            "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
        ],
    };
    let statement = statement
        .replace("EACH_OF(", each)
        .replace("UUID_OF(", uuid)
        .replace("NOW_US()", now_us);
    AssertSqlSafe(statement).into_sql_str()
}

/// Keys for `EACH_OF`.
pub(crate) type Keys<const PARTS: usize> = Json<Vec<[String; PARTS]>>;

pub(crate) fn texts(texts: impl IntoIterator<Item = String>) -> Keys<1> {
    Json(texts.into_iter().map(|text| [text]).collect())
}

pub(crate) fn stores(stores: &[StoreId]) -> Keys<1> {
    texts(stores.iter().map(StoreId::to_string))
}

pub(crate) fn orders(orders: &[(StoreId, OrderId)]) -> Keys<2> {
    let key = |(store, order): &(StoreId, OrderId)| {
        [store.to_string(), order.uuid().simple().to_string()]
    };
    Json(orders.iter().map(key).collect())
}

pub(crate) fn days(days: &[(StoreId, BusinessDate)]) -> Keys<2> {
    let key = |(store, date): &(StoreId, BusinessDate)| [store.to_string(), date.to_string()];
    Json(days.iter().map(key).collect())
}
