//! The same lab by what a shell script would use: one `ip -batch` a namespace for its devices and one for the rest, and
//! `iptables-restore`, `ip6tables-restore` and `nft -f` where there are rules. The namespaces are made by requests, which is
//! in its favour.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};

use dvrlab::kernel::Netns;
use dvrlab::namespace::PolicyRule;
use dvrlab::net::Family;
use tokio::runtime::{Builder, Runtime};

use crate::bare::{Content, Device, Kind, Objects};

/// Programs, each with its arguments: reads commands on its standard input.
const IP: &[&str] = &["ip", "-batch", "-"];
const FEEDERS: [&[&str]; 3] = [&["iptables-restore"], &["ip6tables-restore"], &["nft", "-f", "-"]];
/// What each of [`FEEDERS`] takes, as these print it.
const SAVERS: [&[&str]; 3] = [&["iptables-save"], &["ip6tables-save"], &["nft", "list", "ruleset", "netdev"]];

/// Texts for [`FEEDERS`], empty where there are no rules or no program.
pub(crate) type Saved = [String; 3];

/// Reads the rules of a namespace.
pub(crate) fn save(netns: &Netns) -> Saved {
    SAVERS.map(|program| {
        let output = netns.run_in(|| command(program).stderr(Stdio::null()).output());
        let output = output.expect("a namespace can be entered");
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if text.contains("-A ") || text.contains("chain ") { text } else { String::new() }
    })
}

fn command(program: &[&str]) -> Command {
    let (name, arguments) = program.split_first().expect("a program has a name");
    #[expect(clippy::disallowed_methods, reason = "the measured programs are started in the sandbox")]
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// The programs are there.
pub(crate) struct Programs(());

/// The text for each program of a namespace. `@N@` stands for the path of namespace N.
pub(crate) struct Script {
    first: String,
    then: String,
    rules: Saved,
}

impl Programs {
    /// Looks for them.
    ///
    /// # Errors
    /// The name of one that is not there.
    pub(crate) fn find() -> Result<Self, &'static str> {
        for program in [IP].iter().chain(&FEEDERS).filter_map(|program| program.first()) {
            if command(&[program, "-V"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                return Err(program);
            }
        }
        Ok(Self(()))
    }

    /// Makes namespaces and feeds the programs.
    #[expect(clippy::unused_self, reason = "that there is one says that the programs are there")]
    pub(crate) fn build(&self, scripts: &[Script]) -> (Vec<Netns>, Runtime) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let new = |_: &Script| Netns::create(runtime.handle()).expect("a namespace can be made");
        let namespaces: Vec<Netns> = scripts.iter().map(new).collect();
        // A program inherits no descriptor of these: it goes through this process's own.
        let path = |netns: &Netns| format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        let paths: Vec<String> = namespaces.iter().map(path).collect();
        for (script, netns) in scripts.iter().zip(&namespaces) {
            let mut text = script.first.clone();
            for (number, path) in paths.iter().enumerate() {
                text = text.replace(&format!("@{number}@"), path);
            }
            feed(netns, IP, &text);
        }
        for (script, netns) in scripts.iter().zip(&namespaces) {
            feed(netns, IP, &script.then);
            for (program, text) in FEEDERS.into_iter().zip(&script.rules) {
                feed(netns, program, text);
            }
        }
        (namespaces, runtime)
    }
}

fn feed(netns: &Netns, program: &[&str], text: &str) {
    if text.is_empty() {
        return;
    }
    let mut file: File = tempfile::tempfile().expect("a file can be had");
    file.write_all(text.as_bytes()).expect("a file can be written");
    std::io::Seek::rewind(&mut file).expect("a file can be read again");
    let status = netns.run_in(|| command(program).stdin(file).stdout(Stdio::null()).status());
    let status = status.expect("a namespace can be entered").expect("a program that was found can be started");
    assert!(status.success(), "{program:?} refused:\n{text}");
}

/// One script a namespace.
pub(crate) fn scripts(objects: &Objects) -> Vec<Script> {
    let mut scripts: Vec<Script> = objects.contents.iter().map(script).collect();
    let mut add = |number: usize, line: String| {
        if let Some(script) = scripts.get_mut(number) {
            script.first.push_str(&line);
        }
    };
    for (near, far) in objects.cables() {
        let (here, there) = (near.1, far.1);
        add(near.0, format!("link add {} type veth peer {} netns @{}@\n", device(here), device(there), far.0));
    }
    scripts
}

fn device(device: &Device) -> String {
    format!("name {} index {} address {} mtu {}", device.name, device.index, device.mac, device.mtu)
}

fn script(content: &Content) -> Script {
    let (mut first, mut then) = (String::new(), String::new());
    for one in &content.devices {
        let name = name(content, one.index);
        match one.kind {
            Kind::Bridge => {
                line(&mut first, format_args!("link add {} type bridge forward_delay 0 mcast_snooping 0", device(one)));
            }
            Kind::Vxlan(vni, local, below) => line(
                &mut then,
                format_args!(
                    "link add {} type vxlan id {vni} local {local} dev {} dstport 4789 nolearning",
                    device(one),
                    self::name(content, below)
                ),
            ),
            Kind::Veth(_) => {}
        }
        let up = if one.up { "up" } else { "down" };
        match one.bridge {
            0 => line(&mut then, format_args!("link set dev {name} {up}")),
            bridge => line(&mut then, format_args!("link set dev {name} master {} {up}", self::name(content, bridge))),
        }
    }
    for (index, net) in &content.addresses {
        line(&mut then, format_args!("addr add {net} dev {}", name(content, *index)));
    }
    for route in &content.state.routes {
        line(&mut then, format_args!("route replace {route}"));
    }
    let base = PolicyRule::base();
    for rule in content.state.rules.iter().filter(|rule| !base.contains(rule)).filter_map(rule_line) {
        line(&mut then, format_args!("{rule}"));
    }
    for ((device, address), mac) in &content.state.neighbours {
        line(&mut then, format_args!("neigh replace {address} lladdr {mac} dev {device} nud permanent"));
    }
    Script { first, then, rules: content.saved.clone() }
}

/// `ip -batch` knows one family a run: rules of IPv6 are left out, in favour of
/// the shell.
fn rule_line(rule: &PolicyRule) -> Option<String> {
    let text = rule.to_string();
    let (priority, rest) = text.split_once(": ")?;
    (rule.family == Family::V4).then(|| format!("rule add {rest} priority {priority}"))
}

fn name(content: &Content, index: u32) -> &str {
    content.devices.iter().find(|one| one.index == index).map_or("lo", |one| &one.name)
}

fn line(text: &mut String, arguments: fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a text takes every line");
}
