//! Where a call is: `/v1/stores/{store_id}/orders/{order_id}:complete`, as `google.api.http` writes it.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Segments with a slash before each, and a verb with a colon before it. A variable takes one whole segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// The path of a field.
    Variable(String),
}

impl Template {
    /// `None`: it is malformed, or written with patterns (`*`, `**`, `{name=...}`), which nothing here needs.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix('/')?;
        let (path, verb) = match path.rfind(':') {
            Some(colon) if !path[colon..].contains(['/', '}']) => {
                (&path[..colon], Some(path[colon + 1..].to_owned()))
            }
            _ => (path, None),
        };
        let segment = |text: &str| {
            let variable = text
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let (name, is_variable) = (variable.unwrap_or(text), variable.is_some());
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
            if name.is_empty() || !name.chars().all(plain) {
                return None;
            }
            Some(if is_variable {
                Segment::Variable(name.to_owned())
            } else {
                Segment::Literal(name.to_owned())
            })
        };
        let segments = path.split('/').map(segment).collect::<Option<_>>()?;
        if verb.as_ref().is_some_and(String::is_empty) {
            return None;
        }
        Some(Self { segments, verb })
    }

    /// The fields that its variables are, in order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(field) => Some(field.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// What stands in a path for each variable, decoded; `None`: the path is another. A colon in a variable's place has to be encoded
    /// (`%3A`) in the last segment, where a plain one begins the verb.
    pub(crate) fn captures(&self, path: &str) -> Option<Vec<String>> {
        let mut path = path.strip_prefix('/')?;
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let verb = path[last..].rfind(':').map(|colon| last + colon);
        match (&self.verb, verb) {
            (None, None) => {}
            (Some(own), Some(colon)) if path[colon + 1..] == **own => path = &path[..colon],
            _ => return None,
        }
        let mut found = Vec::new();
        let mut segments = path.split('/');
        for own in &self.segments {
            let segment = segments.next()?;
            match own {
                Segment::Literal(text) if text == segment => {}
                Segment::Literal(_) => return None,
                Segment::Variable(_) => {
                    let text = percent_decode_str(segment).decode_utf8().ok()?;
                    if text.is_empty() {
                        return None;
                    }
                    found.push(text.into_owned());
                }
            }
        }
        segments.next().is_none().then_some(found)
    }

    /// Whether some path is both this and the other.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let agree = |(one, other): (&Segment, &Segment)| match (one, other) {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            _ => true,
        };
        self.verb == other.verb
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(agree)
    }

    /// With another name for each variable.
    pub(crate) fn with_names(&self, name: impl Fn(&str) -> String) -> Self {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Variable(field) => Segment::Variable(name(field)),
            Segment::Literal(text) => Segment::Literal(text.clone()),
        });
        Self {
            segments: segments.collect(),
            verb: self.verb.clone(),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Variable(field) => write!(f, "/{{{field}}}")?,
            }
        }
        self.verb
            .as_ref()
            .map_or(Ok(()), |verb| write!(f, ":{verb}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(template: &str, path: &str) -> Option<Vec<String>> {
        Template::parse(template).unwrap().captures(path)
    }

    #[test]
    fn paths_are_told_apart() {
        let order = "/v1/stores/{store_id}/orders/{order_id}";
        assert_eq!(
            captures(order, "/v1/stores/a/orders/b%2Fc"),
            Some(vec!["a".into(), "b/c".into()])
        );
        assert_eq!(
            captures(order, "/v1/stores/a%3Ab/orders/c%3Ad"),
            Some(vec!["a:b".into(), "c:d".into()])
        );
        for other in [
            "/v1/stores/a/orders",
            "/v1/stores/a/orders/",
            "/v1/stores//orders/b",
            "/v1/stores/a/orders/b/",
            "/v1/stores/a/orders/b:complete",
            "/v1/stores/a/orders/%ff",
            "/v2/stores/a/orders/b",
            "",
        ] {
            assert_eq!(captures(order, other), None, "{other}");
        }
        let complete = "/v1/orders/{order_id}:complete";
        assert_eq!(
            captures(complete, "/v1/orders/b:complete"),
            Some(vec!["b".into()])
        );
        assert_eq!(captures(complete, "/v1/orders/b:cancel"), None);
        assert_eq!(captures(complete, "/v1/orders/b"), None);
        assert_eq!(
            captures("/v1/orders:quote", "/v1/orders:quote"),
            Some(Vec::new())
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for malformed in [
            "",
            "v1",
            "/",
            "/v1//x",
            "/v1/{}",
            "/v1/{name=*}",
            "/v1/*",
            "/v1/**",
            "/v1/x{y}",
            "/v1/x:",
            "/v1/{a:b}",
        ] {
            assert_eq!(Template::parse(malformed), None, "{malformed}");
        }
        for template in ["/v1/{a.b}/c", "/v1/{a}:close", "/v1/c:d"] {
            let parsed = Template::parse(template).map(|parsed| parsed.to_string());
            assert_eq!(parsed.as_deref(), Some(template));
        }
    }

    #[test]
    fn templates_that_some_path_is_both_of() {
        let overlap = |one: &str, other: &str| {
            Template::parse(one)
                .unwrap()
                .overlaps(&Template::parse(other).unwrap())
        };
        assert!(overlap("/v1/{a}/b", "/v1/c/{d}"));
        assert!(!overlap("/v1/{a}/b", "/v1/{a}/c"));
        assert!(!overlap("/v1/{a}", "/v1/{a}:b"));
        assert!(!overlap("/v1/{a}", "/v1"));
    }
}
