//! What taps pass over: packets that a clock paces, which come at their own time and would keep a tap from ever being quiet.
//!
//! In: nothing. Out: a classic BPF program, run by the kernel for each frame. Never: a packet passed over that is not paced.

use socket2::SockFilter;

use crate::probe::PACED;

/// Where payload begins: Ethernet, then IPv4 or IPv6, then UDP or ICMP, or TCP without options.
const PAYLOADS: [u32; 4] = [14 + 20 + 8, 14 + 20 + 20, 14 + 40 + 8, 14 + 40 + 20];
/// Instructions for each of them.
const EACH: u8 = 6;
/// Operations of classic BPF, `linux/bpf_common.h`.
const LOAD_LENGTH: u16 = 0x80;
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const IF_AT_LEAST: u16 = 0x35;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Takes everything but what is marked as paced. A load beyond a frame's end would end the program, so its length is looked at
/// first.
pub(super) fn filter() -> Vec<SockFilter> {
    let mut program: Vec<SockFilter> = Vec::new();
    for (number, at) in (0_u8..).zip(PAYLOADS) {
        // How many instructions are left behind this block up to the one that takes the frame.
        let left = EACH * (3 - number);
        program.extend([
            step(LOAD_LENGTH, 0, 0, 0),
            step(IF_AT_LEAST, at + PACED.length, 0, left + 4),
            step(LOAD_WORD, at, 0, 0),
            step(IF_EQUAL, PACED.magic, 0, 2),
            step(LOAD_BYTE, at + PACED.course, 0, 0),
            step(IF_AT_LEAST, PACED.first, left + 1, 0),
        ]);
    }
    program.extend([step(RETURN, u32::MAX, 0, 0), step(RETURN, 0, 0, 0)]);
    program
}

fn step(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}
