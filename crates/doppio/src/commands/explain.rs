use clap::Args;
use contract::Reason;

use crate::exit::{ExitCode, Failure};
use crate::output::{Format, say};
use crate::row;
use crate::table::{Column, Table};

/// What a refusal means and what to do, by the reason that it names.
#[derive(Args)]
pub struct Explain {
    /// A reason such as PRICE_CHANGED; all of them when absent.
    reason: Option<String>,
}

impl Explain {
    pub fn run(self, format: Format) -> Result<(), Failure> {
        let Some(asked) = self.reason else {
            return all(format);
        };
        let wanted = asked.trim().to_ascii_uppercase().replace('-', "_");
        let Some(reason) = Reason::ALL.iter().find(|known| known.as_str() == wanted) else {
            let part = wanted.split('_').next().unwrap_or_default();
            let like: Vec<&str> = Reason::ALL
                .iter()
                .map(|known| known.as_str())
                .filter(|known| !part.is_empty() && known.contains(part))
                .collect();
            let hint = if like.is_empty() {
                "`doppio explain` lists all".to_owned()
            } else {
                format!("perhaps {}", like.join(", "))
            };
            return Err(Failure::new(
                ExitCode::Usage,
                format!("no refusal has the reason {asked:?}; {hint}"),
            ));
        };
        match format {
            Format::Json => say(json(*reason)),
            Format::People => say(Table::new(
                [Column::text(&format!(
                    "{reason} (gRPC {:?})",
                    reason.code()
                ))],
                [row![reason.meaning()]],
            )),
        }
    }
}

fn json(reason: Reason) -> serde_json::Value {
    serde_json::json!({
        "reason": reason.as_str(), "code": format!("{:?}", reason.code()), "meaning": reason.meaning(),
    })
}

fn all(format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => say(serde_json::Value::from_iter(
            Reason::ALL.iter().map(|reason| json(*reason)),
        )),
        Format::People => {
            let rows = Reason::ALL
                .iter()
                .map(|reason| row![reason.as_str(), reason.meaning()]);
            say(Table::new(
                [
                    Column::id("reason"),
                    Column::text("what it means and what to do"),
                ],
                rows,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do_and_an_unknown_one_is_told_so() {
        for reason in Reason::ALL {
            let explain = Explain {
                reason: Some(reason.as_str().to_ascii_lowercase()),
            };
            explain.run(Format::Json).unwrap();
            assert!(reason.meaning().ends_with('.'), "{reason}");
        }
        let unknown = Explain {
            reason: Some("PRICE_ODD".into()),
        };
        let refused = unknown.run(Format::People).unwrap_err();
        assert_eq!(refused.code, ExitCode::Usage);
        assert!(refused.to_string().contains("PRICE_CHANGED"), "{refused}");
    }
}
