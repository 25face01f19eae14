//! The watch's positive control: it sees what it is there to see.
//!
//! In: a lab that has converged to an intent, and frames made from the intent. Out: those that were not seen as what they were.
//! Never: a frame sent before the one before it was seen.

use crate::api::Intent;
use crate::dataplane::{Dataplane, DataplaneError};
use crate::watch::{self, Captured, Class, Count, Proof};

/// How often is looked for a frame. It has come by the time that it is sent, but for a machine that defers work.
const LOOKS: u32 = 200;
/// How many frames are sent of what is no violation. Such are counted and not captured, and routers send some by themselves, one or
/// a few at a time (group membership when a timer says so, ARP): those alone must not prove a rule that does not stand.
const COPIES: u32 = 16;

/// What came of a proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proved {
    /// How many frames were sent.
    pub frames: u32,
    /// What was not seen as what it was, a sentence each.
    pub unproved: Vec<String>,
}

/// Sends a frame, or several of what is no violation ([`copies`]), for everything that the watch tells apart, from every host's
/// end of every provider segment. Each must raise its own counter, no counter of a violation besides, and leave its own evidence
/// if it is one.
///
/// # Errors
/// [`DataplaneError`] if a frame could not be sent or the watch not be read.
pub fn prove(dataplane: &dyn Dataplane, intent: &Intent) -> Result<Proved, DataplaneError> {
    let mut proved = Proved::default();
    // What went before is none of this.
    dataplane.caught()?;
    dataplane.counted()?;
    for proof in watch::proofs(intent) {
        for _ in 0..copies(proof.class) {
            dataplane.inject(&proof.network, &proof.host, &proof.frame)?;
        }
        let (counts, caught) = look(dataplane, &proof)?;
        proved.frames = proved.frames.saturating_add(copies(proof.class));
        if let Some(text) = wrong(&proof, &counts, &caught) {
            let what = watch::decode(&proof.frame).map_or_else(
                || "a frame without addresses".to_owned(),
                |one| format!("{} from {}", one.what, one.source),
            );
            let Proof { network, host, class, .. } = &proof;
            proved.unproved.push(format!("the watch is blind on {network} to {host}: {what} is {class}, but {text}"));
        }
    }
    Ok(proved)
}

/// How many frames of a class are sent.
pub fn copies(class: Class) -> u32 {
    if class.is_violation() { 1 } else { COPIES }
}

fn look(dataplane: &dyn Dataplane, proof: &Proof) -> Result<(Vec<Count>, Vec<Captured>), DataplaneError> {
    let mut counts = Vec::new();
    for _ in 0..LOOKS {
        counts.extend(dataplane.counted()?);
        if frames(&counts, proof) >= copies(proof.class).into() || counts.iter().any(|count| count.class.is_violation())
        {
            break;
        }
    }
    Ok((counts, dataplane.caught()?))
}

fn own(count: &Count, proof: &Proof) -> bool {
    (&count.network, &count.host, count.class) == (&proof.network, &proof.host, proof.class)
}

/// How many frames were counted as what it is.
fn frames(counts: &[Count], proof: &Proof) -> u64 {
    counts.iter().filter(|count| own(count, proof)).map(|count| count.frames).sum()
}

/// What is wrong with what was seen of a frame. What routers send meanwhile by themselves (ARP, group membership) may be
/// counted beside it, but is never a violation.
fn wrong(proof: &Proof, counts: &[Count], caught: &[Captured]) -> Option<String> {
    let other = counts.iter().find(|count| count.class.is_violation() && !own(count, proof));
    if let Some(other) = other {
        return Some(format!("counted as {} of {} on {}", other.class, other.host, other.network));
    }
    let (frames, sent) = (frames(counts, proof), u64::from(copies(proof.class)));
    let violation = proof.class.is_violation();
    if frames < sent || (violation && frames > sent) {
        return Some(format!("counted {frames} times of {sent}"));
    }
    let evidence = |one: &Captured| {
        let place: (_, _, Class) = (&one.network, &one.host, one.class);
        place == (&proof.network, &proof.host, proof.class) && proof.frame == one.frame
    };
    let mine = caught.iter().filter(|one| evidence(one)).count();
    if mine != usize::from(violation) || caught.len() != mine {
        return Some(format!("{mine} of {} captured frames are evidence of it", caught.len()));
    }
    None
}
