//! `run --pcap`: files that say what they show, that Wireshark's own programs read, and that change nothing.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, asks another program, and looks at some of what a file may hold"
)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use dvrlab::record::Record;
use dvrlab::report;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

const SCENARIO: &str = "scenarios/floating-ip/in-out.yaml";

/// A frame of a file: device, whether it left, comment.
type Line = (String, bool, String);

/// Runs the scenario and gives its records; with a directory, captured into that.
fn run(directory: Option<&Path>) -> Vec<Record> {
    let _permit = common::Permit::wait();
    let mut command = Command::new(common::program());
    command.args(["run", "--json", "-", SCENARIO]).current_dir(common::project("")).env_remove("CI");
    if let Some(directory) = directory {
        command.arg("--pcap").arg(directory);
    }
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing is missing");
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn lines(file: &Path) -> Vec<Line> {
    let mut reader = PcapNgReader::new(File::open(file).unwrap()).unwrap();
    let (mut devices, mut lines) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap().into_owned() {
            Block::InterfaceDescription(device) => devices.extend(device.options.iter().find_map(|one| match one {
                InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                _ => None,
            })),
            Block::EnhancedPacket(packet) => {
                let (mut left, mut comment) = (false, String::new());
                for option in &packet.options {
                    match option {
                        EnhancedPacketOption::Flags(flags) => left = flags & 3 == 2,
                        EnhancedPacketOption::Comment(text) => comment = text.to_string(),
                        _ => {}
                    }
                }
                let device = devices.get(usize::try_from(packet.interface_id).unwrap()).cloned();
                lines.push((device.expect("a device is described before its first frame"), left, comment));
            }
            _ => {}
        }
    }
    lines
}

/// Every namespace has a file; the frames say step, operation and probe; and what a run finds is the same.
#[test]
fn a_run_is_captured_and_does_not_notice() {
    if common::labs_are_skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("floating-ip/in-out/gone.pcapng");
    std::fs::create_dir_all(stale.parent().unwrap()).unwrap();
    std::fs::write(&stale, "of a run before").unwrap();
    // Records as a whole differ anyway: the source ports that translation picks are random.
    let texts =
        |records: Vec<Record>| records.iter().map(|one| (report::reach(one), report::rules(one))).collect::<Vec<_>>();
    assert_eq!(texts(run(Some(directory.path()))), texts(run(None)), "what is found differs when frames are captured");
    let files = files(stale.parent().unwrap());
    let names: BTreeSet<&str> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    for name in ["vm1", "web", "cmp1", "cmp1.qrouter-r1", "net1.snat-r1", "cmp1.fip-public", "segment_public"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    assert!(!names.contains("gone"), "what is not of this run is removed");
    let qrouter = files.iter().find(|file| file.ends_with("cmp1.qrouter-r1.pcapng")).unwrap();
    let seen = lines(qrouter);
    let has = |device: &str, left: bool, parts: &[&str]| {
        let fits = |(on, out, comment): &Line| {
            (on.as_str(), *out) == (device, left) && parts.iter().all(|p| comment.contains(p))
        };
        assert!(seen.iter().any(fits), "no frame on {device} with {parts:?}");
    };
    has("qr-red4", false, &["step 1; probe ", "vm1 -> 198.51.100.2 udp/9000, request"]);
    has("rfp-r1", true, &["step 2 (given); probe ", "vm1 -> 198.51.100.2 icmp, request"]);
    has("rfp-r1", false, &["step 2 (given); probe ", "vm1 -> 198.51.100.2 tcp/80, answer"]);
    let fip = lines(files.iter().find(|file| file.ends_with("cmp1.fip-public.pcapng")).unwrap());
    let announced = |(device, left, comment): &Line| {
        device == "fg-public"
            && *left
            && comment == "step 2 (given); during `arping -U -I fg-public 203.0.113.101` on cmp1"
    };
    assert!(fip.iter().any(announced), "{fip:?}");
    wireshark_reads(&files);
}

/// Where Wireshark's programs are installed (`tests/zz_left_out.rs` says where they are not), they read every file.
fn wireshark_reads(files: &BTreeSet<PathBuf>) {
    let here = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join(program).exists()))
    };
    if !here("tshark") {
        return;
    }
    for file in files {
        let mut command = Command::new("tshark");
        command.args(["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment", "-r"]).arg(file);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", file.display());
        let told = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<String> =
            lines(file).into_iter().map(|(device, _, comment)| format!("{device}\t{comment}")).collect();
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{}", file.display());
    }
}
