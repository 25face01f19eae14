//! Not a test: the last lines of `cargo test` say what this run had to leave out, so that nothing is skipped in silence.

#![expect(clippy::print_stdout, reason = "its output is all it is for")]

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let here = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|place| place.join(program).exists()))
    };
    let mut left_out = Vec::new();
    if std::env::var_os("DVRLAB_SKIP_LABS").is_some_and(|value| value == "1") {
        left_out.push("every test that needs a lab (DVRLAB_SKIP_LABS=1)");
    }
    if !here("iptables-save") {
        left_out.push("comparing with iptables-save, rules by iptables-restore (package iptables)");
    }
    if !["ip", "iptables", "sysctl"].into_iter().all(here) {
        left_out
            .push("what recordings have somebody do by hand, and what follows (packages iproute2, iptables, procps)");
    }
    if !here("script") {
        left_out.push("a shell at the prompt of a run that stands still (package bsdutils)");
    }
    if !here("tshark") {
        left_out.push("having Wireshark read captures (package tshark)");
    }
    if !here("chromium") {
        left_out.push("the report in a browser (package chromium)");
    }
    if left_out.is_empty() {
        println!("nothing was left out");
    } else {
        println!("left out:");
        for what in left_out {
            println!("    {what}");
        }
    }
}
