//! `run --pcap DIR`: a pcapng file for each namespace of each scenario.
//!
//! In: what was captured, step by step. Out: `DIR/<scenario>/<namespace>.pcapng`. Never: a frame of one run behind those of another.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::capture::Section;
use crate::flow::Place;
use crate::harness::StepCapture;
use crate::report;

const EXTENSION: &str = "pcapng";

/// The files of one scenario.
pub(super) struct Files {
    directory: PathBuf,
    scenario: String,
    open: BTreeMap<Place, (Section, File)>,
    /// What kept a file from being whole.
    pub(super) complaints: Vec<String>,
}

impl Files {
    /// Files below `directory`, once there is something to write.
    pub(super) fn new(directory: &Path, scenario: &str) -> Self {
        let (directory, scenario) = (directory.join(scenario), scenario.to_owned());
        Self { directory, scenario, open: BTreeMap::new(), complaints: Vec::new() }
    }

    /// Adds what was captured in a step.
    pub(super) fn add(&mut self, step: &StepCapture) {
        let title = report::title_of(step.number, step.name.as_deref());
        for frame in &step.capture.frames {
            let mut notes = vec![title.clone()];
            notes.extend(frame.notes.iter().cloned());
            if let Some((section, _)) = self.file(&frame.place) {
                section.add(frame.device.as_str(), frame, &notes);
            }
        }
        for (place, frames) in &step.capture.missed {
            if let Some((section, _)) = self.file(place) {
                section.miss("lost", place, *frames);
            }
            self.complain(&format!("{place}: the capture has no {frames} of {title}'s frames"));
        }
        if let Some(told) = &step.capture.broken {
            self.complain(told);
        }
        let written = self.open.values_mut().try_for_each(|(section, file)| file.write_all(&section.take()));
        if let Err(error) = written {
            self.complain(&format!("{}: {error}", self.directory.display()));
        }
    }

    /// Says it once: what cannot be written cannot be for every frame.
    fn complain(&mut self, told: &str) {
        let complaint = format!("{}: {told}", self.scenario);
        if !self.complaints.contains(&complaint) {
            self.complaints.push(complaint);
        }
    }

    fn file(&mut self, place: &Place) -> Option<&mut (Section, File)> {
        if !self.open.contains_key(place) {
            match self.create(place) {
                Ok(made) => drop(self.open.insert(place.clone(), made)),
                Err(error) => self.complain(&format!("{}: {error}", self.directory.display())),
            }
        }
        self.open.get_mut(place)
    }

    fn create(&self, place: &Place) -> io::Result<(Section, File)> {
        fs::create_dir_all(&self.directory)?;
        if self.open.is_empty() {
            forget_earlier(&self.directory)?;
        }
        let file = File::create(self.directory.join(file_name(place)))?;
        Ok((Section::new(&format!("{}: {place}", self.scenario)), file))
    }
}

/// Removes the files of a run before: a namespace that is not there this time would seem to be.
fn forget_earlier(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == EXTENSION) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// `cmp1.qrouter-r1.pcapng`, `segment_public.pcapng`: names have neither `.` nor `_`.
fn file_name(place: &Place) -> String {
    format!("{}.{EXTENSION}", place.to_string().replace('/', ".").replace(' ', "_"))
}
