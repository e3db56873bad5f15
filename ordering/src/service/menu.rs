use contract::Money;
use contract::api::{ordering as api, types};

use crate::catalog::{DiscountValue, Item, Promotion, PromotionKind, Store, Text};

fn text(text: &Text) -> Option<types::LocalizedText> {
    Some(types::LocalizedText { text: text.clone() })
}

/// A store's menu for the API.
pub fn menu(store: &Store) -> api::Menu {
    let menu = &store.menu;
    api::Menu {
        store_id: store.id.to_string(),
        version: menu.version.clone(),
        currency_code: store.currency.to_string(),
        store_name: text(&store.name),
        time_zone: store.time_zone.clone(),
        cutoff: format!(
            "{:02}:{:02}",
            store.cutoff_minutes / 60,
            store.cutoff_minutes % 60
        ),
        categories: menu
            .categories
            .iter()
            .map(|category| api::MenuCategory {
                category_id: category.id.to_string(),
                name: text(&category.name),
            })
            .collect(),
        items: menu.items.values().map(|own| item(store, own)).collect(),
        promotions: menu
            .promotions
            .iter()
            .filter(|promotion| promotion.kind != PromotionKind::Coupon)
            .map(|own| promotion(store, own))
            .collect(),
    }
}

fn item(store: &Store, item: &Item) -> api::MenuItem {
    let money = |amount: Money| Some(store.currency.amount(amount));
    api::MenuItem {
        sku: item.sku.to_string(),
        name: text(&item.name),
        category: item.category.to_string(),
        price: money(item.price),
        sold_out: item.sold_out,
        options: item
            .options
            .iter()
            .map(|option| api::MenuOption {
                option_id: option.id.to_string(),
                name: text(&option.name),
                price_delta: money(option.price_delta),
                max_quantity: option.max_quantity,
            })
            .collect(),
        tax_class_eat_in: item.tax_eat_in.to_string(),
        tax_class_take_away: item.tax_take_away.to_string(),
    }
}

/// Coupons are not shown: whoever knows the code has one.
fn promotion(store: &Store, promotion: &Promotion) -> api::MenuPromotion {
    let source = if promotion.kind == PromotionKind::Line {
        types::DiscountSource::LinePromotion
    } else {
        types::DiscountSource::OrderPromotion
    };
    api::MenuPromotion {
        promotion_id: promotion.id.to_string(),
        version: promotion.version,
        name: text(&promotion.name),
        source: source.into(),
        value: Some(match promotion.value {
            DiscountValue::Percent(percent_bp) => api::menu_promotion::Value::PercentBp(percent_bp),
            DiscountValue::Fixed(amount) => {
                api::menu_promotion::Value::Amount(store.currency.amount(amount))
            }
        }),
        members_only: promotion.members_only,
    }
}
