//! A rule from its `iptables-save` line (without `-A CHAIN`), the inverse of its `Display`.

use std::net::IpAddr;
use std::str::FromStr;

use super::iptables::{DevicePattern, Match, NatTarget, Rule, Target, What, state};
use crate::name::DeviceName;
use crate::net::{IpNet, PortRange};

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleTextError {
    /// A quote without its end.
    #[error("a quote is not closed")]
    Quote,
    /// A word that no rule here has.
    #[error("`{0}` is not understood here")]
    Word(String),
    /// An option at the end that needs a value.
    #[error("`{0}` needs a value")]
    Missing(String),
    /// A value that the option does not take.
    #[error("`{value}` is no value of `{option}`")]
    Value {
        /// The option.
        option: String,
        /// The value.
        value: String,
    },
    /// A target without an option that it needs.
    #[error("`-j {0}` is incomplete")]
    Target(String),
}

impl FromStr for Rule {
    type Err = RuleTextError;

    fn from_str(text: &str) -> Result<Self, RuleTextError> {
        let words = split(text)?;
        let mut words = Words { rest: words.into_iter() };
        let mut matches = Vec::new();
        let mut module = String::new();
        let mut not = false;
        while let Some(word) = words.rest.next() {
            match word.as_str() {
                "!" => {
                    not = true;
                    continue;
                }
                "-m" => {
                    module = words.text(&word)?;
                    continue;
                }
                "-j" => {
                    let name = words.text(&word)?;
                    return Ok(Self { matches, target: target(&name, &mut words)? });
                }
                _option => matches.push(Match { not, what: condition(&word, &module, &mut words)? }),
            }
            not = false;
        }
        Ok(Self { matches, target: Target::None })
    }
}

/// Words as a shell splits them, as far as `iptables-save` quotes.
fn split(text: &str) -> Result<Vec<String>, RuleTextError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().push(characters.next().ok_or(RuleTextError::Quote)?),
            space if space.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if quoted { Err(RuleTextError::Quote) } else { Ok(words) }
}

struct Words {
    rest: std::vec::IntoIter<String>,
}

impl Words {
    fn text(&mut self, option: &str) -> Result<String, RuleTextError> {
        self.rest.next().ok_or_else(|| RuleTextError::Missing(option.to_owned()))
    }

    fn value<T>(&mut self, option: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, RuleTextError> {
        let value = self.text(option)?;
        read(&value).ok_or_else(|| RuleTextError::Value { option: option.to_owned(), value })
    }
}

fn condition(option: &str, module: &str, words: &mut Words) -> Result<What, RuleTextError> {
    let unknown = || RuleTextError::Word(option.to_owned());
    match option {
        "-s" => words.value(option, net).map(What::Source),
        "-d" => words.value(option, net).map(What::Destination),
        "-i" => words.value(option, device).map(What::InDevice),
        "-o" => words.value(option, device).map(What::OutDevice),
        "-p" => words.value(option, protocol).map(What::Protocol),
        "--sport" => {
            let number = protocol(module).ok_or_else(unknown)?;
            words.value(option, |text| PortRange::read(text, ':')).map(|ports| What::SourcePort(number, ports))
        }
        "--dport" => {
            let number = protocol(module).ok_or_else(unknown)?;
            words.value(option, |text| PortRange::read(text, ':')).map(|ports| What::DestinationPort(number, ports))
        }
        "--mark" if module == "mark" => words.value(option, masked).map(|(value, mask)| What::Mark(value, mask)),
        "--mark" if module == "connmark" => {
            words.value(option, masked).map(|(value, mask)| What::ConnMark(value, mask))
        }
        "--ctstate" | "--state" => words.value(option, states).map(What::ConntrackState),
        "--comment" => words.text(option).map(What::Comment),
        _other => Err(unknown()),
    }
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn device(text: &str) -> Option<DevicePattern> {
    match text.strip_suffix('+') {
        Some(prefix) => Some(DevicePattern::Prefix(prefix.to_owned())),
        None => DeviceName::new(text).ok().map(DevicePattern::Name),
    }
}

fn protocol(text: &str) -> Option<u8> {
    match text {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "ipv6-icmp" => Some(58),
        number => number.parse().ok(),
    }
}

/// Decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `VALUE/MASK`, or `VALUE` with a full mask.
fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

fn states(text: &str) -> Option<u16> {
    text.split(',').try_fold(0, |bits, word| {
        let (bit, _) = state::NAMES.iter().find(|(_, name)| *name == word)?;
        Some(bits | bit)
    })
}

fn target(name: &str, words: &mut Words) -> Result<Target, RuleTextError> {
    let target = match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "RETURN" => Target::Return,
        "MARK" => return only("--set-xmark", name, words).map(|(value, mask)| Target::Mark(value, mask)),
        "CONNMARK" => return connmark(name, words),
        "SNAT" => return nat("--to-source", name, words).map(Target::Snat),
        "DNAT" => return nat("--to-destination", name, words).map(Target::Dnat),
        "REDIRECT" => {
            expect("--to-ports", name, words)?;
            Target::Redirect(words.value("--to-ports", |text| PortRange::read(text, '-'))?)
        }
        "CT" => {
            expect("--notrack", name, words)?;
            Target::NoTrack
        }
        chain => Target::Jump(chain.to_owned()),
    };
    end(words)?;
    Ok(target)
}

fn end(words: &mut Words) -> Result<(), RuleTextError> {
    words.rest.next().map_or(Ok(()), |word| Err(RuleTextError::Word(word)))
}

fn expect(option: &str, target: &str, words: &mut Words) -> Result<(), RuleTextError> {
    match words.rest.next() {
        Some(word) if word == option => Ok(()),
        Some(word) => Err(RuleTextError::Word(word)),
        None => Err(RuleTextError::Target(target.to_owned())),
    }
}

fn only(option: &str, target: &str, words: &mut Words) -> Result<(u32, u32), RuleTextError> {
    expect(option, target, words)?;
    let value = words.value(option, masked)?;
    end(words)?;
    Ok(value)
}

fn connmark(target: &str, words: &mut Words) -> Result<Target, RuleTextError> {
    let make = match words.rest.next().as_deref() {
        Some("--save-mark") => Target::SaveMark,
        Some("--restore-mark") => Target::RestoreMark,
        Some("--set-xmark") => {
            let (value, mask) = words.value("--set-xmark", masked)?;
            end(words)?;
            return Ok(Target::SetConnMark(value, mask));
        }
        Some(word) => return Err(RuleTextError::Word(word.to_owned())),
        None => return Err(RuleTextError::Target(target.to_owned())),
    };
    let (mut nfmask, mut ctmask) = (u32::MAX, u32::MAX);
    while let Some(word) = words.rest.next() {
        match word.as_str() {
            "--nfmask" => nfmask = words.value(&word, number)?,
            "--ctmask" => ctmask = words.value(&word, number)?,
            _other => return Err(RuleTextError::Word(word)),
        }
    }
    Ok(make(nfmask, ctmask))
}

fn nat(option: &str, target: &str, words: &mut Words) -> Result<NatTarget, RuleTextError> {
    expect(option, target, words)?;
    let mut to = words.value(option, nat_address)?;
    for word in words.rest.by_ref() {
        match word.as_str() {
            "--random" => to.random = true,
            "--random-fully" => to.random_fully = true,
            "--persistent" => to.persistent = true,
            _other => return Err(RuleTextError::Word(word)),
        }
    }
    Ok(to)
}

/// `A`, `A:PORTS`, `[A]:PORTS`, `A:PORTS/BASE`
fn nat_address(text: &str) -> Option<NatTarget> {
    if let Ok(address) = text.parse() {
        return Some(NatTarget::to(address));
    }
    let (address, range) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(rest) => IpAddr::V6(rest.strip_suffix(']')?.parse().ok()?),
        None => IpAddr::V4(address.parse().ok()?),
    };
    let (range, base) = match range.split_once('/') {
        Some((range, base)) => (range, Some(base.parse().ok()?)),
        None => (range, None),
    };
    Some(NatTarget { ports: Some(PortRange::read(range, '-')?), base, ..NatTarget::to(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_print_as_they_were_read() {
        for line in [
            "-s 10.0.1.0/24 ! -d 10.0.0.0/20 -i qr-+ ! -o qg-r1 -p tcp -m tcp --sport 1024:65535 ! --dport 80 -j DROP",
            "-m comment --comment \"he said \\\"it\\'s\\\" \\\\\" -j RETURN",
            "-m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000",
            "-d 203.0.113.5/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.1.5:5300-5310 --persistent",
            "-p tcp -j DNAT --to-destination [fd00::5]:80",
            "-d 203.0.113.5/32 -p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination 10.0.1.5:80-90/8000",
            "-j SNAT --to-source fd00::1 --random-fully",
            "-m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT",
            "-m mark --mark 0x1 -j MARK --set-xmark 0x2/0xffffffff",
            "-j CT --notrack",
            "",
        ] {
            let rule: Rule = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(rule.to_string(), line);
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let word = |text: &str| RuleTextError::Word(text.to_owned());
        assert_eq!("-m limit --limit 1/s -j DROP".parse::<Rule>(), Err(word("--limit")));
        assert_eq!("--dport 80 -j DROP".parse::<Rule>(), Err(word("--dport")));
        assert_eq!("-j DROP now".parse::<Rule>(), Err(word("now")));
        assert_eq!("-j MARK".parse::<Rule>(), Err(RuleTextError::Target("MARK".to_owned())));
        assert_eq!("-s".parse::<Rule>(), Err(RuleTextError::Missing("-s".to_owned())));
        let value = RuleTextError::Value { option: "-s".to_owned(), value: "10.0.0.0/33".to_owned() };
        assert_eq!("-s 10.0.0.0/33".parse::<Rule>(), Err(value));
        assert_eq!("-m comment --comment \"open".parse::<Rule>(), Err(RuleTextError::Quote));
    }
}
