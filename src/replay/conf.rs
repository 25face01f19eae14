//! The agent's options that decide what is built; the others are those of other programs.
//!
//! In: a key of its configuration file and its text. Out: the option set, or what is wrong with the text.

use std::net::Ipv6Addr;

use crate::net::ROUTER_MARK_MASK;
use crate::router::AgentOptions;

/// Sets one option, or nothing where the key is none of those.
pub(super) fn set(options: &mut AgentOptions, key: &str, text: &str) -> Result<(), String> {
    match key {
        "use_random_fully" => options.random_fully = boolean(text)?,
        "comment_iptables_rules" => options.comments = boolean(text)?,
        "enable_metadata_proxy" => options.metadata = boolean(text)?,
        "handle_internal_only_routers" => options.internal_only = boolean(text)?,
        "metadata_port" => options.metadata_port = text.parse().map_err(|error| format!("`{text}`: {error}"))?,
        "metadata_access_mark" => options.metadata_mark = mark(text)?,
        "external_ingress_mark" => options.ingress_mark = mark(text)?,
        "ipv6_gateway" => options.ipv6_gateway = link_local(text)?,
        _another => {}
    }
    Ok(())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _other => Err(format!("`{text}` is neither true nor false")),
    }
}

/// A mark, in hexadecimal or decimal, within the bits that are for it. Reference: `neutron-snat-side`, 4.6.
fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let mark = parsed.map_err(|error| format!("`{text}`: {error}"))?;
    if mark & !ROUTER_MARK_MASK == 0 {
        Ok(mark)
    } else {
        Err(format!("`{text}` has bits outside {ROUTER_MARK_MASK:#x}"))
    }
}

/// The agent does not begin with any other. Reference: `neutron-snat-side`, 2.3.
fn link_local(text: &str) -> Result<Option<Ipv6Addr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse::<Ipv6Addr>().ok().filter(Ipv6Addr::is_unicast_link_local);
    address.map(Some).ok_or_else(|| format!("`{text}` is not an IPv6 link-local address"))
}
