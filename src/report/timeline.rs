//! Values that come, change and go from step to step, each told once with the steps it is there in.

use std::collections::BTreeMap;

/// When something is to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The steps it is there in.
    pub(crate) on: Vec<usize>,
    /// Of those, the steps that brought it.
    pub(crate) new: Vec<usize>,
    /// The steps that took it away without putting anything in its place.
    pub(crate) gone: Vec<usize>,
}

impl Spans {
    /// `1 2 3`, for an attribute.
    pub(crate) fn list(steps: &[usize]) -> String {
        steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What each key stands for in the course of the steps: every value it takes, in order of the first step that has it.
pub(crate) type Timeline<K, V> = BTreeMap<K, Vec<(V, Spans)>>;

/// Brings the steps' values together. What the first step has is not new.
pub(crate) fn timeline<K: Ord + Clone, V: PartialEq + Clone>(frames: &[(usize, BTreeMap<K, V>)]) -> Timeline<K, V> {
    let mut all: Timeline<K, V> = BTreeMap::new();
    let mut before: Option<&BTreeMap<K, V>> = None;
    for (step, frame) in frames {
        for (key, value) in frame {
            let variants = all.entry(key.clone()).or_default();
            let at = variants.iter().position(|(known, _)| known == value).unwrap_or_else(|| {
                variants.push((value.clone(), Spans::default()));
                variants.len() - 1
            });
            if let Some((_, spans)) = variants.get_mut(at) {
                spans.on.push(*step);
                if before.is_some_and(|before| before.get(key) != Some(value)) {
                    spans.new.push(*step);
                }
            }
        }
        for (key, value) in before.into_iter().flatten().filter(|(key, _)| !frame.contains_key(key)) {
            let variants = all.entry(key.clone()).or_default();
            if let Some((_, spans)) = variants.iter_mut().find(|(known, _)| known == value) {
                spans.gone.push(*step);
            }
        }
        before = Some(frame);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_once_with_all_its_steps() {
        let frame = |pairs: &[(&'static str, u8)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let frames = [(1, frame(&[("a", 1), ("b", 1)])), (2, frame(&[("a", 2)])), (3, frame(&[("a", 1), ("b", 1)]))];
        let spans = |on: &[usize], new: &[usize], gone: &[usize]| Spans {
            on: on.to_vec(),
            new: new.to_vec(),
            gone: gone.to_vec(),
        };
        let found = timeline(&frames);
        assert_eq!(found["a"], [(1, spans(&[1, 3], &[3], &[])), (2, spans(&[2], &[2], &[]))]);
        assert_eq!(found["b"], [(1, spans(&[1, 3], &[3], &[2]))]);
    }
}
