//! `dvrlab report`: the page is whole, and works in a browser by keyboard and by link.
#![expect(clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use dvrlab::record::Record;
use dvrlab::report::html;

fn records() -> Vec<Record> {
    let files = [
        "scenarios/floating-ip/move.yaml",
        "scenarios/snat/toggle.yaml",
        "scenarios/agent/gateway-moved-while-down.yaml",
        "scenarios/packets/icmp-errors.yaml",
    ];
    files.iter().map(|file| common::record_of(&common::project(file))).collect()
}

/// The page of one old record needs no lab.
fn old() -> Vec<Record> {
    let text = std::fs::read_to_string(common::project("tests/records/format-1.json")).expect("a record");
    dvrlab::record::read(&text).expect("a record")
}

#[test]
fn the_page_is_whole_and_the_same_every_time() {
    if common::labs_are_skipped() {
        return;
    }
    let records = records();
    let page = html(&records);
    assert_eq!(page, html(&records));
    assert_eq!(page.matches("<template ").count(), records.len());
    for record in &records {
        for step in record.steps.iter().filter(|step| step.is_told()) {
            let link = format!("href=\"#{}/{}\"", record.scenario, step.number);
            assert!(page.contains(&link), "{link}");
        }
        assert!(page.contains(&record.story.setup), "{}", record.scenario);
    }
    // The hosts and machines are drawn, what a step brings is marked, rules stand there once with their steps.
    for words in
        ["<text class=\"name\" x=\"36\"", ">dvr_snat</text>", "data-new=\"2\"", "data-gone=\"2\"", "class=\"finding\""]
    {
        assert!(page.contains(words), "{words}");
    }
    // Hosts that did not hear of a change, the address that stands twice then, and packets made to order.
    for words in ["is stale: it differs from", "so who is reached is chance", "<pre class=\"found\">probe: "] {
        assert!(page.contains(words), "{words}");
    }
    // Each flow that ran through a step has a plot, each of its lost packets a mark.
    let flows: Vec<_> = records.iter().flat_map(|record| &record.steps).flat_map(|step| &step.flows).collect();
    let lost: usize = flows.iter().map(|account| account.lost.len()).sum();
    assert!(!flows.is_empty(), "a scenario with flows");
    assert_eq!(page.matches("<figure class=\"ledger\">").count(), flows.len());
    assert_eq!(page.matches("<rect class=\"lost\"").count(), lost);
    assert!(page.len() < 100_000 * records.len() + 60_000, "{} bytes", page.len());
}

/// Nothing is fetched: neither is there an address to fetch from, nor would the page's own policy let it.
#[test]
fn the_page_stands_alone() {
    let page = html(&old());
    let without_names = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!without_names.contains(word), "{word}");
    }
    assert!(page.contains("content=\"default-src 'none'; "), "a policy");
}

/// What a scenario says is text, wherever it lands.
#[test]
fn names_are_not_taken_for_markup() {
    let mut records = old();
    let evil = "</script><script>alert(1)</script>\"><img>";
    for record in &mut records {
        record.summary = evil.to_owned();
        record.path = evil.to_owned();
        for step in &mut record.steps {
            step.name = Some(evil.to_owned());
            step.change.push(evil.to_owned());
        }
    }
    let page = html(&records);
    assert!(!page.contains("<script>alert") && !page.contains("<img>"), "markup");
}

/// Where the browser is not installed the last lines of `cargo test` say so (`tests/zz_left_out.rs`).
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|place| place.join("chromium")).find(|program| program.exists())
}

/// Opens a page, does what `script` says, and gives the document that comes of it.
#[expect(clippy::disallowed_methods, reason = "the page is shown by a browser")]
fn shown(browser: &Path, page: &str, hash: &str, script: &str) -> String {
    let kept = tempfile::tempdir().expect("a directory");
    let file = kept.path().join("page.html");
    // What goes wrong in any script is written down before the page's own script runs.
    let listener = "<script>window.errors=[];addEventListener('error',e=>errors.push(e.message));\
                    addEventListener('securitypolicyviolation',e=>errors.push(e.violatedDirective));</script></head>";
    let driver = format!(
        "<script>addEventListener('load',()=>{{const said=[];try{{{script}}}catch(e){{errors.push(String(e));}}\
         const out=document.createElement('output');out.textContent=JSON.stringify({{said,errors}});document.body.append(out);}});\
         </script></body>"
    );
    let page = page.replacen("</head>", listener, 1).replacen("</body>", &driver, 1);
    std::fs::write(&file, page).expect("a page");
    let mut command = Command::new(browser);
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=3000"]);
    command.arg(format!("--user-data-dir={}", kept.path().join("profile").display()));
    command.arg(format!("file://{}#{hash}", file.display())).env("HOME", kept.path());
    let output = command.output().expect("the browser starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What the script said, and the errors there were.
fn said(document: &str) -> serde_json::Value {
    let (_, rest) = document.rsplit_once("<output>").unwrap_or_else(|| panic!("no answer in {document:.2000}"));
    let text = rest.split_once("</output>").expect("its end").0;
    serde_json::from_str(&text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")).expect("JSON")
}

/// A link to a step shows that step; keys lead to steps, scenarios, the search and back; a cell opens its way, Escape
/// closes it and gives the focus back.
#[test]
fn a_browser_shows_it() {
    let Some(browser) = browser() else { return };
    if common::labs_are_skipped() {
        return;
    }
    let page = html(&records());
    let script = "
        const key = (name) => { (document.activeElement || document.body).dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true}));
            dispatchEvent(new HashChangeEvent('hashchange')); };
        const now = () => said.push([location.hash, document.querySelector('.steps [aria-current]')?.textContent ?? null,
            document.querySelectorAll('#scenario .is-new').length > 0]);
        now(); key('ArrowRight'); now(); key('ArrowLeft'); key('ArrowLeft'); now();
        const cell = document.querySelector('#scenario .cell'); cell.focus(); cell.click();
        said.push([document.querySelector('#way h3').textContent, document.querySelectorAll('#way tr').length > 2,
            document.activeElement.textContent]);
        key('Escape'); said.push([document.querySelector('#way').hidden, document.activeElement === cell]);
        key('['); now(); key('Escape'); now();
        key('/'); said.push(document.activeElement.id);
        const search = document.querySelector('#search'); search.value = 'TOGGLE'; search.dispatchEvent(new Event('input'));
        said.push([...document.querySelectorAll('.summary tbody tr')].filter((row) => !row.hidden).length);
    ";
    let found = said(&shown(&browser, &page, "snat/toggle/2", script));
    assert_eq!(found["errors"], serde_json::json!([]), "{found}");
    let wanted = serde_json::json!([
        ["#snat/toggle/2", "2 off", true],
        ["#snat/toggle/3", "3 routed", true],
        ["#snat/toggle/1", "1", false],
        ["vm1 -> vm2 icmp tcp/80 udp/9000: as itself ttl 64", true, "Close"],
        [true, true],
        ["#floating-ip/move", "1", false],
        ["", null, false],
        "search",
        1
    ]);
    assert_eq!(found["said"], wanted);
}

/// A record of the format before has a page too, without a drawing.
#[test]
fn a_browser_shows_an_old_record() {
    let Some(browser) = browser() else { return };
    let found = said(&shown(&browser, &html(&old()), "snat/basic", "said.push(document.title)"));
    assert_eq!(found, serde_json::json!({ "said": ["snat/basic, step 1 - dvrlab"], "errors": [] }));
}
