//! Page tokens: opaque, and bound to the request that they continue.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Fields, Reason, Rejection};
use sha2::{Digest, Sha256};

const CHECK_BYTES: usize = 16;
const VERSION: u8 = 1;
pub(crate) const DEFAULT_PAGE: u32 = 50;
pub(crate) const LONGEST_PAGE: u32 = 1_000;

/// `page_size` as it is meant: 0 is `default`, and no page is longer than `longest`.
pub(crate) fn page_size(
    fields: &mut Fields,
    asked: i32,
    default: u32,
    longest: u32,
) -> Option<u32> {
    match u32::try_from(asked) {
        Ok(0) => Some(default),
        Ok(size) => Some(size.min(longest)),
        Err(_) => {
            fields.note("page_size", "must not be negative");
            None
        }
    }
}

/// A token that says where the next page begins. `request`: all fields that must stay as they are.
pub(crate) fn write(request: &[&[u8]], next: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&check(request, next));
    bytes.extend_from_slice(next);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where the page begins; refuses a token that was cut, changed, or given out for another request.
pub(crate) fn read(request: &[&[u8]], token: &str) -> Result<Vec<u8>, Rejection> {
    let refused = || {
        Rejection::field(
            Reason::MalformedPageToken,
            "page_token",
            "does not belong to this request; start again without one",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let (&[version], bytes) = bytes.split_first_chunk::<1>().ok_or_else(refused)?;
    let (found, next) = bytes
        .split_first_chunk::<CHECK_BYTES>()
        .ok_or_else(refused)?;
    if version != VERSION || *found != check(request, next) {
        return Err(refused());
    }
    Ok(next.to_vec())
}

/// For a token that is whole, but says nothing that a page can begin after.
pub(crate) fn foreign_token() -> Rejection {
    Rejection::field(
        Reason::MalformedPageToken,
        "page_token",
        "was not given out by this server",
    )
}

fn check(request: &[&[u8]], next: &[u8]) -> [u8; CHECK_BYTES] {
    let mut digest = Sha256::new();
    for field in request.iter().chain([&next]) {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest.finalize()[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_only_by_the_request_that_it_was_given_out_for() {
        let token = write(&[b"gangnam", b"2026-01-02"], b"17");
        assert_eq!(read(&[b"gangnam", b"2026-01-02"], &token).unwrap(), b"17");
        for (request, token) in [
            ([&b"gangnam"[..], b"2026-01-03"], token.as_str()),
            ([b"gangnam2", b"026-01-02"], token.as_str()),
            ([b"gangnam", b"2026-01-02"], &token[1..]),
            ([b"gangnam", b"2026-01-02"], ""),
            ([b"gangnam", b"2026-01-02"], "nonsense!"),
        ] {
            assert_eq!(
                read(&request, token).unwrap_err().reason,
                Reason::MalformedPageToken
            );
        }
    }

    #[test]
    fn page_sizes() {
        let size =
            |asked| Fields::read(|fields| page_size(fields, asked, DEFAULT_PAGE, LONGEST_PAGE));
        assert_eq!((size(0), size(7), size(5_000)), (Ok(50), Ok(7), Ok(1_000)));
        assert_eq!(size(-1).unwrap_err().violations[0].field, "page_size");
    }
}
