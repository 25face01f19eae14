//! TEXT of a state sentence against a printed line: words in order, gaps allowed, `*` for any run of characters.

use std::net::IpAddr;

/// Whether the words of `pattern` occur in `line`, in that order. An empty pattern matches every line.
pub fn matches(pattern: &[String], line: &str) -> bool {
    let mut words = line.split_whitespace();
    pattern.iter().all(|wanted| words.any(|word| word_matches(wanted, word)))
}

/// Whether one word matches: by its characters, an address its own with a prefix length, or one behind `src=` or `dst=`.
fn word_matches(pattern: &str, word: &str) -> bool {
    if glob(pattern, word) {
        return true;
    }
    if word.strip_prefix("src=").or_else(|| word.strip_prefix("dst=")).is_some_and(|address| glob(pattern, address)) {
        return true;
    }
    let Some((address, length)) = word.split_once('/') else { return false };
    let number = !length.is_empty() && length.chars().all(|c| c.is_ascii_digit());
    number && pattern == address && address.parse::<IpAddr>().is_ok()
}

fn glob(pattern: &str, word: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = word.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_matches_words_in_order() {
        let rule = "32768: from 10.0.1.11 lookup 16";
        let nat = "-A neutron-l3-agent-snat -o qg-r1 -j SNAT --to-source 203.0.113.10 --random-fully";
        let connection = "udp src=10.0.1.11 dst=198.51.100.2 sport=free dport=53 reply src=198.51.100.2 dst=203.0.113.10 sport=53 dport=free";
        let address = "10.0.1.1/24 dev qr-red4";
        for (pattern, line, expected) in [
            ("203.0.113.10", connection, true),
            ("udp 203.0.113.* dport=free", connection, true),
            ("dst=203.0.113.10", connection, true),
            ("src=203.0.113.10", connection, false),
            ("203.0.113.1", connection, false),
            ("", rule, true),
            ("from 10.0.1.11 lookup 16", rule, true),
            ("from lookup", rule, true),
            ("lookup from", rule, false),
            ("from 10.0.1.1", rule, false),
            ("from 10.0.1.*", rule, true),
            ("32768:", rule, true),
            ("32768", rule, false),
            ("--to-source 203.0.113.10", nat, true),
            ("-o qg-* -j SNAT", nat, true),
            ("-o *-r1 *fully", nat, true),
            ("-o qg-*2", nat, false),
            ("10.0.1.1", address, true),
            ("10.0.1.1/24", address, true),
            ("10.0.1.1/25", address, false),
            ("10.0.1.*", address, true),
            ("10.0.1.1 dev qr-*", address, true),
            ("dev dev", address, false),
            ("*", "", false),
            ("default via 10.0.1.2", "default via 10.0.1.2 dev qr-red4 table 167772417 proto static", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ] {
            let words: Vec<String> = pattern.split_whitespace().map(str::to_owned).collect();
            assert_eq!(matches(&words, line), expected, "`{pattern}` on `{line}`");
        }
    }
}
