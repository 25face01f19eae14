//! Addresses, policy rules, routes from the lines that `ip` prints, the inverse of their `Display`.

use std::str::FromStr;

use super::state::{Address, NextHop, PolicyRule, Route, RouteKind, RouteProtocol};
use crate::name::DeviceName;
use crate::net::{Family, IpNet, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, family_of, host_net};

/// Why a text is no such object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectTextError {
    /// A word that has no place there.
    #[error("`{0}` is not understood here")]
    Word(String),
    /// A word that needs another one behind it.
    #[error("`{0}` needs a value")]
    Missing(String),
    /// A value that the word does not take.
    #[error("`{value}` is no value of `{option}`")]
    Value {
        /// The word.
        option: String,
        /// The value.
        value: String,
    },
    /// A part without which there is no such object.
    #[error("{0} is missing")]
    Part(&'static str),
}

/// Words with their values.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn text(&mut self, option: &str) -> Result<&'a str, ObjectTextError> {
        self.next().ok_or_else(|| ObjectTextError::Missing(option.to_owned()))
    }

    fn value<T: FromStr>(&mut self, option: &str) -> Result<T, ObjectTextError> {
        let text = self.text(option)?;
        text.parse().map_err(|_error: T::Err| wrong(option, text))
    }
}

fn wrong(option: &str, value: &str) -> ObjectTextError {
    ObjectTextError::Value { option: option.to_owned(), value: value.to_owned() }
}

/// A prefix, an address for its host prefix, or `default` and `all` for everything of the family.
fn net(option: &str, text: &str, family: Family) -> Result<IpNet, ObjectTextError> {
    let found = match text {
        "default" | "all" => Some(family.any()),
        _ => text.parse::<IpNet>().ok().or_else(|| text.parse().ok().map(host_net)),
    };
    found.filter(|net| family_of(net) == family).ok_or_else(|| wrong(option, text))
}

fn table(text: &str) -> Result<u32, ObjectTextError> {
    match text {
        "main" => Ok(TABLE_MAIN),
        "local" => Ok(TABLE_LOCAL),
        "default" => Ok(TABLE_DEFAULT),
        number => number.parse().map_err(|_error| wrong("table", number)),
    }
}

fn number(option: &str, text: &str) -> Result<u32, ObjectTextError> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_error| wrong(option, text))
}

impl FromStr for Address {
    type Err = ObjectTextError;

    /// `10.0.1.1/24 dev qr-red4`
    fn from_str(text: &str) -> Result<Self, ObjectTextError> {
        let mut words = Words(text.split_whitespace());
        let first = words.next().ok_or(ObjectTextError::Part("an address with its prefix length"))?;
        let net = first.parse().map_err(|_error| wrong("address", first))?;
        let mut device = None;
        while let Some(word) = words.next() {
            match word {
                "dev" => device = Some(words.value(word)?),
                other => return Err(ObjectTextError::Word(other.to_owned())),
            }
        }
        Ok(Self::new(device.ok_or(ObjectTextError::Part("`dev DEVICE`"))?, net))
    }
}

impl PolicyRule {
    /// `32768: from 10.0.1.11 lookup 16`
    ///
    /// # Errors
    /// [`ObjectTextError`] with the word that is wrong.
    pub fn parse(family: Family, text: &str) -> Result<Self, ObjectTextError> {
        let mut words = Words(text.split_whitespace());
        let first = words.next().ok_or(ObjectTextError::Part("the priority"))?;
        let priority = first.strip_suffix(':').ok_or(ObjectTextError::Part("the priority with a colon"))?;
        let mut rule = Self::new(family, number("priority", priority)?, 0);
        let mut looked_up = false;
        while let Some(word) = words.next() {
            match word {
                "from" => rule.from = Some(net(word, words.text(word)?, family)?).filter(|net| *net != family.any()),
                "to" => rule.to = Some(net(word, words.text(word)?, family)?),
                "iif" => rule.iif = Some(words.value(word)?),
                "oif" => rule.oif = Some(words.value(word)?),
                "fwmark" => {
                    let text = words.text(word)?;
                    let (mark, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
                    rule.fwmark = Some((number(word, mark)?, number(word, mask)?));
                }
                "lookup" => {
                    rule.table = table(words.text(word)?)?;
                    looked_up = true;
                }
                other => return Err(ObjectTextError::Word(other.to_owned())),
            }
        }
        if looked_up { Ok(rule) } else { Err(ObjectTextError::Part("`lookup TABLE`")) }
    }
}

impl Route {
    /// `default via 10.0.1.2 dev qr-red4 table main proto static`; without `table` it is in `main`, without `proto` the
    /// agent's.
    ///
    /// # Errors
    /// [`ObjectTextError`] with the word that is wrong.
    pub fn parse(family: Family, text: &str) -> Result<Self, ObjectTextError> {
        let mut words = Words(text.split_whitespace());
        let mut first = words.next().ok_or(ObjectTextError::Part("the destination"))?;
        let kind = match first {
            "unreachable" => RouteKind::Unreachable,
            "blackhole" => RouteKind::Blackhole,
            "prohibit" => RouteKind::Prohibit,
            _ => RouteKind::Unicast,
        };
        if kind != RouteKind::Unicast {
            first = words.text(first)?;
        }
        let mut route = Self {
            table: TABLE_MAIN,
            destination: net("destination", first, family)?.trunc(),
            kind,
            next_hops: Vec::new(),
            protocol: RouteProtocol::Static,
            scope_link: false,
            source: None,
            metric: if family == Family::V6 { 1024 } else { 0 },
            tos: 0,
            odd: String::new(),
        };
        let mut via = None;
        while let Some(word) = words.next() {
            match word {
                "via" => via = Some(words.value(word)?),
                "dev" => {
                    let device: DeviceName = words.value(word)?;
                    route.next_hops.push(NextHop { via: via.take(), device, weight: 1, onlink: false });
                }
                "table" => route.table = table(words.text(word)?)?,
                "proto" => match words.text(word)? {
                    "static" => route.protocol = RouteProtocol::Static,
                    "boot" => route.protocol = RouteProtocol::Boot,
                    "ra" => route.protocol = RouteProtocol::Ra,
                    other => route.protocol = RouteProtocol::Other(other.parse().map_err(|_error| wrong(word, other))?),
                },
                "scope" => route.scope_link = words.text(word)? == "link",
                "src" => route.source = Some(words.value(word)?),
                "metric" => route.metric = number(word, words.text(word)?)?,
                "onlink" => route.next_hops.iter_mut().for_each(|hop| hop.onlink = true),
                "nexthop" => {}
                "weight" => {
                    let weight = words.value(word)?;
                    route.next_hops.iter_mut().last().ok_or(ObjectTextError::Part("`dev DEVICE`"))?.weight = weight;
                }
                other => return Err(ObjectTextError::Word(other.to_owned())),
            }
        }
        if kind == RouteKind::Unicast && route.next_hops.is_empty() {
            return Err(ObjectTextError::Part("`dev DEVICE`"));
        }
        if route.next_hops.iter().all(|hop| hop.via.is_none()) && family == Family::V4 && kind == RouteKind::Unicast {
            route.scope_link = true;
        }
        Ok(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_object_is_read_back() {
        for text in ["10.0.1.1/24 dev qr-red4", "2001:db8::1/64 dev qg-r1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "32768: from 10.0.1.11 lookup 16",
            "80001: from all iif lo lookup 16",
            "167772417: from 10.0.1.1/24 lookup 167772417",
            "5: from 10.0.1.0/24 to 10.0.2.1 fwmark 0x1/0xff iif qr-a oif qr-b lookup main",
        ] {
            assert_eq!(PolicyRule::parse(Family::V4, text).unwrap().to_string(), text);
        }
        for text in [
            "default via 10.0.1.2 dev qr-red4 table 167772417 proto static",
            "10.9.0.0/16 dev qr-red4 table main proto static scope link",
            "blackhole default table 15 proto static",
            "198.18.7.0/24 nexthop via 10.0.1.11 dev qr-a weight 1 nexthop via 10.0.1.12 dev qr-a weight 2 table main proto static",
            "203.0.113.101 via 169.254.64.0 dev fpr-r1 table main",
        ] {
            let read = text
                .strip_suffix("table main")
                .map_or_else(|| text.to_owned(), |start| format!("{start}table main proto boot"));
            assert_eq!(Route::parse(Family::V4, &read).unwrap().to_string(), text);
        }
        let six = "default via fe80::1 dev qg-r1 table main proto static metric 1024";
        assert_eq!(Route::parse(Family::V6, six).unwrap().to_string(), six);
    }

    #[test]
    fn a_text_that_is_no_object_says_why() {
        let told = |text: &str| Route::parse(Family::V4, text).unwrap_err().to_string();
        assert_eq!(told("10.0.0.0/8 via 10.0.1.2"), "`dev DEVICE` is missing");
        assert_eq!(told("10.0.0.0/8 dev"), "`dev` needs a value");
        assert_eq!(told("2001:db8::/32 dev qr-a"), "`2001:db8::/32` is no value of `destination`");
        assert_eq!(told("10.0.0.0/8 dev qr-a ttl 3"), "`ttl` is not understood here");
        assert_eq!(
            "10.0.1.1 dev qr-a".parse::<Address>().unwrap_err().to_string(),
            "`10.0.1.1` is no value of `address`"
        );
        assert_eq!(
            PolicyRule::parse(Family::V4, "from all lookup 16").unwrap_err().to_string(),
            "the priority with a colon is missing"
        );
        assert_eq!(PolicyRule::parse(Family::V4, "5: from all").unwrap_err().to_string(), "`lookup TABLE` is missing");
    }
}
