//! Records out of text that `run --json` wrote, by this version or the one before.
//!
//! In: JSON, one record or a list of them. Out: records. Never: a guess at a format that is not known.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, Record};

/// The oldest format that is still read.
pub const OLDEST: u32 = 1;

/// Why a text gives no records.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON, or not of a record.
    #[error("this is no record")]
    Garbled(#[source] serde_json::Error),
    /// It is of a version that is not known.
    #[error("format {found}: this version of dvrlab reads {OLDEST} to {FORMAT}")]
    Format {
        /// The version it says it is of.
        found: u32,
    },
}

/// A record without all but its version, which is looked at first: a later one may have anything else.
#[derive(Debug, Deserialize)]
struct Version {
    format: u32,
}

/// All records of a text.
///
/// # Errors
/// [`ReadError`] if it is not made of records of a known format.
pub fn read(text: &str) -> Result<Vec<Record>, ReadError> {
    let versions: Vec<Version> = one_or_many(text)?;
    if let Some(found) = versions.iter().map(|one| one.format).find(|format| !(OLDEST..=FORMAT).contains(format)) {
        return Err(ReadError::Format { found });
    }
    one_or_many(text)
}

fn one_or_many<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ReadError> {
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(ReadError::Garbled)
    } else {
        serde_json::from_str(text).map(|one| vec![one]).map_err(ReadError::Garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match read(text) {
            Ok(records) => format!("{} records", records.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_told() {
        assert_eq!(told("[]"), "0 records");
        let range = format!("this version of dvrlab reads {OLDEST} to {FORMAT}");
        assert_eq!(told("[{\"format\": 99, \"new\": true}]"), format!("format 99: {range}"));
        assert_eq!(told("{\"format\": 0}"), format!("format 0: {range}"));
        assert_eq!(told("{\"format\": 1}"), "this is no record");
        assert_eq!(told("{}"), "this is no record");
    }
}
