//! The same scenario gives the same bytes, whatever stands beside it.

mod common;

use dvrlab::{harness, report};

/// Three rounds of four labs side by side; latency is not judged here, so more than two may stand at once.
#[test]
fn three_rounds_of_four_labs_give_the_same_bytes() {
    if common::labs_are_skipped() {
        return;
    }
    let files = ["scenarios/snat/basic.yaml", "scenarios/floating-ip/move.yaml"].map(common::project);
    let mut first: Vec<Option<(String, String)>> = vec![None; files.len()];
    for round in 0..3 {
        let results: Vec<(usize, String, String)> = std::thread::scope(|scope| {
            let labs: Vec<_> = (0..4)
                .map(|lab| {
                    let which = (lab + round) % files.len();
                    let file = &files[which];
                    scope.spawn(move || {
                        let text = std::fs::read_to_string(file).unwrap();
                        let job = harness::Job::Scenario {
                            path: file.to_string_lossy().into_owned(),
                            text,
                            log: None,
                            hold: None,
                            overrides: harness::Overrides::default(),
                        };
                        let record = harness::run_scenario(common::program(), &job, &mut |_step| {}).unwrap();
                        (which, report::reach(&record), report::rules(&record))
                    })
                })
                .collect();
            labs.into_iter().map(|lab| lab.join().unwrap()).collect()
        });
        for (which, reach, rules) in results {
            let expected = first[which].get_or_insert_with(|| (reach.clone(), rules.clone()));
            assert_eq!(expected.0, reach, "round {round}: reachability of {}", files[which].display());
            assert_eq!(expected.1, rules, "round {round}: rules of {}", files[which].display());
        }
    }
}
