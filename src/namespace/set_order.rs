//! The order in which the agent goes through a set of texts.
//!
//! The agent keeps some things in Python sets and acts on them one after another, so that the order of a Python set decides
//! what stands in the kernel: the order of next hops of a route with several, and which of two addresses in one subnet is the
//! elder. By default that order is another one in every process. With the hash seed 0, with which the recordings were made, it is
//! always the same, and this is it: CPython's hash of texts (SipHash-1-3 with a key of zeros) and its way of filling a table.
//!
//! In: texts in the order in which they are put into the set. Out: the order in which they come out.

/// Slots of an empty set. CPython: `PySet_MINSIZE`.
const SLOTS: usize = 8;
/// Slots that are tried beside the first. CPython: `LINEAR_PROBES`.
const LINEAR_PROBES: usize = 9;
/// CPython: `PERTURB_SHIFT`.
const PERTURB_SHIFT: u32 = 5;

/// The texts in the order of a set that was filled in the order given.
pub(super) fn order<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    Set::filled(texts).into_order()
}

/// The texts in the order of a set that was filled in the order given, less an empty set: a copy, which may have another
/// order than the set itself.
pub(super) fn copy_order<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let set = Set::filled(texts);
    // CPython copies the table if one set is far larger than the other, and else fills a new one.
    if set.used >> 2 > 0 { set.copy().into_order() } else { Set::filled(set.into_order()).into_order() }
}

struct Set<'a> {
    slots: Vec<Option<(&'a str, u64)>>,
    used: usize,
}

impl<'a> Set<'a> {
    fn empty(size: usize) -> Self {
        Self { slots: vec![None; size], used: 0 }
    }

    fn filled(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::empty(SLOTS);
        for text in texts {
            set.add(text);
        }
        set
    }

    fn into_order(self) -> Vec<&'a str> {
        self.slots.into_iter().flatten().map(|(text, _)| text).collect()
    }

    /// A table of the least size that has room for twice as many, unless the smallest does.
    fn copy(self) -> Self {
        let size = if self.used * 5 >= (SLOTS - 1) * 3 { room(self.used * 2) } else { SLOTS };
        if size == self.slots.len() {
            return self;
        }
        let mut copy = Self { used: self.used, ..Self::empty(size) };
        for (text, hash) in self.slots.into_iter().flatten() {
            copy.put(text, hash);
        }
        copy
    }

    fn add(&mut self, text: &'a str) {
        let mask = self.slots.len() - 1;
        if !self.put(text, hash(text)) {
            return;
        }
        self.used += 1;
        // Three fifths full is full.
        if self.used * 5 < mask * 3 {
            return;
        }
        let larger = vec![None; room(self.used * 4)];
        for (text, hash) in std::mem::replace(&mut self.slots, larger).into_iter().flatten() {
            self.put(text, hash);
        }
    }

    /// Puts a text into the first free of its slots; false if it is there already.
    fn put(&mut self, text: &'a str, hash: u64) -> bool {
        let mask = self.slots.len() - 1;
        let wrap = |number: u64| usize::try_from(number & u64::try_from(mask).unwrap_or(0)).unwrap_or(0);
        let mut perturb = hash;
        let mut first = wrap(hash);
        loop {
            let more = if first + LINEAR_PROBES <= mask { LINEAR_PROBES } else { 0 };
            for slot in self.slots.iter_mut().skip(first).take(more + 1) {
                match slot {
                    None => {
                        *slot = Some((text, hash));
                        return true;
                    }
                    Some((there, _)) if *there == text => return false,
                    Some(_) => {}
                }
            }
            perturb >>= PERTURB_SHIFT;
            let next = u64::try_from(first).unwrap_or(0).wrapping_mul(5).wrapping_add(1).wrapping_add(perturb);
            first = wrap(next);
        }
    }
}

/// The least size of a table that holds more than that.
fn room(many: usize) -> usize {
    std::iter::successors(Some(SLOTS), |size| size.checked_mul(2)).find(|size| *size > many).unwrap_or(SLOTS)
}

/// SipHash-1-3 with a key of zeros.
fn hash(text: &str) -> u64 {
    let mut state: [u64; 4] =
        [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    let bytes = text.as_bytes();
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in
        last.iter_mut().zip(rest.iter().chain(std::iter::repeat_n(&0, 7 - rest.len())).chain([&length(bytes)]))
    {
        *to = *from;
    }
    for word in whole.iter().chain([&last]).map(|chunk| u64::from_le_bytes(*chunk)) {
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state.into_iter().fold(0, |sum, part| sum ^ part)
}

/// The length as the last byte of the last word has it.
fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len() & 0xff).unwrap_or(0)
}

fn round(state: &mut [u64; 4]) {
    let [mut v0, mut v1, mut v2, mut v3] = *state;
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    *state = [v0, v1, v2, v3];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each from `hash(text)` of CPython 3.11 with PYTHONHASHSEED=0.
    #[test]
    fn texts_are_hashed_as_python_hashes_them() {
        let cases = [
            ("a", 0x4074_48d2_b89b_1813),
            ("10.0.1.1/24", 0xa282_38d3_9192_10ea),
            ("destination=192.168.70.0/24,nexthop=10.0.1.70", 0x67df_32fe_deb8_ca6a),
        ];
        for (text, sum) in cases {
            assert_eq!(hash(text), sum, "{text}");
        }
    }

    /// Each from `{text for ...}` and `{text for ...} - set()` of CPython 3.11 with PYTHONHASHSEED=0.
    #[test]
    fn sets_have_the_order_of_python() {
        let cases: [(usize, &[usize], &[usize]); 5] = [
            (3, &[1, 2, 0], &[1, 2, 0]),
            (5, &[1, 2, 4, 3, 0], &[1, 4, 3, 2, 0]),
            (6, &[1, 2, 5, 4, 3, 0], &[1, 4, 3, 2, 5, 0]),
            (14, &[1, 2, 6, 7, 11, 9, 5, 12, 4, 3, 13, 8, 10, 0], &[1, 2, 6, 7, 11, 9, 5, 12, 4, 3, 13, 8, 10, 0]),
            (
                40,
                &[
                    7, 36, 5, 34, 3, 27, 16, 28, 32, 0, 1, 29, 6, 21, 17, 33, 12, 8, 10, 26, 19, 11, 24, 18, 39, 13,
                    20, 38, 30, 22, 2, 9, 35, 37, 25, 31, 4, 15, 23, 14,
                ],
                &[
                    7, 36, 5, 34, 3, 27, 16, 28, 32, 0, 1, 29, 6, 21, 17, 33, 12, 8, 10, 26, 19, 11, 24, 18, 39, 13,
                    20, 38, 30, 22, 2, 9, 35, 37, 25, 31, 4, 15, 23, 14,
                ],
            ),
        ];
        for (many, set, copy) in cases {
            let texts: Vec<String> =
                (0..many).map(|n| format!("destination=192.168.{}.0/24,nexthop=10.0.1.{n}", n % 7)).collect();
            let of = |order: Vec<&str>| -> Vec<usize> {
                order.iter().map(|text| text.rsplit('.').next().unwrap().parse().unwrap()).collect()
            };
            assert_eq!(of(Set::filled(texts.iter().map(String::as_str)).into_order()), set, "{many}");
            assert_eq!(of(copy_order(texts.iter().map(String::as_str))), copy, "{many}");
        }
    }

    #[test]
    fn a_text_is_in_a_set_once() {
        assert_eq!(copy_order(["a", "a"]), ["a"]);
    }
}
