//! What the machine and its readers are told of a sample.

use super::*;

#[test]
fn a_sample_has_every_number_of_its_summary() {
    let summary = Summary {
        busy: 1,
        owed: 2,
        idle: 3,
        released: 4,
        vanished: 5,
        stalled: 6,
        new: 7,
        queued: 8,
        holding: 9,
        cut: 10,
        uncertain: 11,
        over: true,
        sooner: ms(12),
        next: ms(13),
    };
    let expected = Sample {
        busy: 1,
        owed: 2,
        idle: 3,
        vanished: 5,
        stalled: 6,
        new: 7,
        queued: 8,
        holding: 9,
        cut: 10,
        uncertain: 11,
        over: true,
        sooner: ms(12),
        next: ms(13),
        listening: false,
        visibility: Visibility::Full,
        cost: Duration::ZERO,
    };
    assert_eq!(Sample::from(summary), expected);
}

#[test]
fn calm_is_what_no_client_would_notice() {
    let none = Sample::default();
    for visibility in [Visibility::Full, Visibility::Counts] {
        let sample = |edit: fn(&mut Sample)| {
            let mut sample = Sample { visibility, busy: 3, owed: 2, stalled: 1, ..none };
            edit(&mut sample);
            sample.calm()
        };
        assert!(sample(|_| {}));
        assert!(!sample(|sample| sample.cut = 1));
        assert!(!sample(|sample| sample.uncertain = 1));
        assert!(!sample(|sample| sample.queued = 1));
        assert!(!sample(|sample| (sample.cut, sample.uncertain, sample.queued) = (1, 1, 1)));
    }
    assert!(Sample { visibility: Visibility::Blind, cut: 1, ..none }.calm(), "nothing is known");
}

/// The name of a variant is the word that users read.
#[test]
fn verdicts_are_told_by_their_names() {
    for verdict in [
        Verdict::Handshake,
        Verdict::Unaccepted,
        Verdict::Unread,
        Verdict::Unacknowledged,
        Verdict::Owed,
        Verdict::Recent,
        Verdict::Unseen,
        Verdict::Open,
        Verdict::Idle,
        Verdict::Closed,
        Verdict::GivenUp,
        Verdict::Vanished,
        Verdict::Stalled,
    ] {
        let name = format!("{verdict:?}").replace("GivenUp", "Given-up").to_lowercase();
        assert_eq!(verdict.as_str(), name);
    }
}
