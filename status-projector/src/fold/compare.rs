//! The Z's recorded figures against the projection's own.

use std::collections::BTreeMap;

use contract::event::DayReport;
use contract::figures::figures;
use read_model::FigureDifference;

/// At most so many differences are kept of one day: beyond that the day is wrong as a whole.
const MAX_DIFFERENCES: usize = 200;

/// Every figure that differs, by name. A figure that one side does not have counts as 0 there.
pub(crate) fn differences(recorded: &DayReport, projected: &DayReport) -> Vec<FigureDifference> {
    let (recorded, projected) = (figures(recorded), figures(projected));
    let names: std::collections::BTreeSet<&String> =
        recorded.keys().chain(projected.keys()).collect();
    let value = |of: &BTreeMap<String, i64>, name: &String| of.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .map(|name| FigureDifference {
            figure: name.clone(),
            recorded: value(&recorded, name),
            projected: value(&projected, name),
        })
        .filter(|difference| difference.recorded != difference.projected)
        .take(MAX_DIFFERENCES)
        .collect()
}
