//! The numbers of the tables that lead a subnet's traffic to the SNAT host.

use std::net::IpAddr;

use crate::net::IpNet;

/// First number of an IPv6 table; below lie the kernel's priorities. Neutron: `SNAT_ROUTER`'s `_get_snat_idx`.
const FIRST_V6: u32 = 32_768;
/// The bits that are kept of the checksum.
const FOLD: u32 = 0x3fff_ffff;

/// Table and priority of the redirect of an internal port's address: IPv4, the address itself as a number; IPv6, the CRC-32
/// of its text with prefix length, folded to 30 bits.
pub(super) fn index(net: &IpNet) -> u32 {
    match net.addr() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(_) => {
            let sum = crc32(net.to_string().as_bytes());
            let folded = (sum >> 30) ^ (sum & FOLD);
            if folded < FIRST_V6 { folded + FOLD } else { folded }
        }
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _bit| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_real_agent() {
        let cases = [
            ("10.1.0.1/24", 167_837_697),
            ("192.168.0.1/24", 3_232_235_521),
            ("101.12.13.0/24", 0x650c_0d00),
            ("2001:db8:1::1/64", 1_043_523_879),
            ("2001:db8:0:1::1/64", 458_288_853),
            ("fd00:10:20::1/64", 340_077_188),
            ("2620:0:a03:e100::/64", 0x3d34_5705),
            ("d488::/30", 0x4000_1bd6),
            ("fd00:2::1/64", 752_495_662),
        ];
        for (net, number) in cases {
            assert_eq!(index(&net.parse().unwrap()), number, "{net}");
        }
    }
}
