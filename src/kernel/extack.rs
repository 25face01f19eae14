//! The kernel's answer to a netlink request that it refuses: an errno and, where the kernel gives one, a sentence.
//!
//! In: the error of the rtnetlink crate, which keeps the acknowledgement as bytes. Out: a [`NetlinkError`] with the sentence
//! taken out of them. Never: a guess at what was meant.

use nix::errno::Errno;

/// Length of the netlink message header and of the attribute header, and the alignment of both.
const ATTRIBUTE_HEADER: usize = 4;
/// `NLMSGERR_ATTR_MSG`: the attribute that holds the sentence.
const ATTRIBUTE_MESSAGE: u16 = 1;

/// Why a netlink request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("{errno:?}: {}", text.as_deref().unwrap_or(errno.desc()))]
    Refused {
        /// The errno.
        errno: Errno,
        /// The kernel's own words (extended acknowledgement), where it has some.
        text: Option<String>,
    },
    /// The socket broke or the answer was none.
    #[error("no answer from netlink")]
    Broken(#[source] rtnetlink::Error),
}

impl NetlinkError {
    /// An errno without words, for what is known to fail before the kernel is asked.
    pub fn of(errno: Errno) -> Self {
        Self::Refused { errno, text: None }
    }

    /// The errno, if the kernel answered.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Broken(_) => None,
        }
    }
}

impl From<rtnetlink::Error> for NetlinkError {
    fn from(error: rtnetlink::Error) -> Self {
        if let rtnetlink::Error::NetlinkError(message) = &error
            && let Some(code) = message.code
        {
            let text = extended_text(&message.header);
            return Self::Refused { errno: Errno::from_raw(code.get().saturating_neg()), text };
        }
        Self::Broken(error)
    }
}

/// The sentence in an acknowledgement. `echo` is the whole request, whose first word is its length, then attributes; each
/// starts at a multiple of four.
pub fn extended_text(echo: &[u8]) -> Option<String> {
    let request = usize::try_from(u32::from_ne_bytes(*echo.first_chunk()?)).ok()?;
    let mut rest = echo.get(request.next_multiple_of(ATTRIBUTE_HEADER)..)?;
    loop {
        let [l0, l1, t0, t1] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        if u16::from_ne_bytes([t0, t1]) == ATTRIBUTE_MESSAGE {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(ATTRIBUTE_HEADER)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = 18_u32.to_ne_bytes().to_vec();
        bytes.resize(20, 0xee);
        bytes.extend_from_slice(attributes);
        bytes
    }

    #[test]
    fn the_sentence_follows_the_request_and_the_offset() {
        let offset = [8, 0, 2, 0, 28, 0, 0, 0];
        let message = [9, 0, 1, 0, b'o', b'o', b'p', b's', 0, 0, 0, 0];
        assert_eq!(extended_text(&echo(&[&offset[..], &message[..]].concat())), Some("oops".to_owned()));
        assert_eq!(extended_text(&echo(&offset)), None);
        assert_eq!(extended_text(&[1, 2]), None);
    }

    #[test]
    fn errors_have_name_and_words() {
        assert_eq!(NetlinkError::of(Errno::EEXIST).to_string(), "EEXIST: File exists");
        let told =
            NetlinkError::Refused { errno: Errno::ENETUNREACH, text: Some("Nexthop has invalid gateway".into()) };
        assert_eq!(told.to_string(), "ENETUNREACH: Nexthop has invalid gateway");
    }
}
