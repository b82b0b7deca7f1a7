//! What holds for any traffic.

use proptest::prelude::*;

use super::*;

/// Exchanges of one connection: a pause, the client's request, the time of work, the parts of the
/// answer with their silences.
#[derive(Clone, Debug)]
struct Exchange {
    pause: i64,
    request: u64,
    work: i64,
    parts: Vec<(i64, u64)>,
}

fn exchange(longest_silence: i64) -> impl Strategy<Value = Exchange> {
    let part = (10..longest_silence, 200u64..5000);
    (600..4000i64, 161u64..900, 10..longest_silence, prop::collection::vec(part, 1..4))
        .prop_map(|(pause, request, work, parts)| Exchange { pause, request, work, parts })
}

/// What is said, and when an answer was under way.
fn play(begun: i64, exchanges: &[Exchange]) -> (Vec<Said>, Vec<(i64, i64)>) {
    let (mut said, mut flights, mut at) = (Vec::new(), Vec::new(), begun);
    for (number, one) in exchanges.iter().enumerate() {
        at += one.pause;
        let asked = at;
        said.push(ask(at, one.request));
        at += one.work;
        for (silence, bytes) in &one.parts {
            // Never the same twice.
            said.push(say(at, bytes + 5000 * u64::try_from(number).expect("few")));
            at += silence;
        }
        flights.push((asked, said.last().map_or(at, |last| last.at)));
    }
    (said, flights)
}

proptest! {
    /// An app whose silences within an answer are shorter than drain-idle loses no answer before the
    /// last tenth.
    #[test]
    fn no_answer_is_cut_off_that_keeps_to_drain_idle(
        begun in -9000i64..2000,
        all in prop::collection::vec(prop::collection::vec(exchange(3800), 1..5), 1..4),
    ) {
        let played: Vec<_> = all.iter().map(|one| play(begun, one)).collect();
        let wires: Vec<Wire> = played.iter().zip(1..).map(|((said, _), key)| {
            wire(said.clone()).named(key)
        }).collect();
        let (end, last, _) = drain_by(RULES, &wires);
        let flights = || played.iter().flat_map(|(_, flights)| flights);
        if end < LENGTH - LENGTH / 5 {
            for (wire, (_, flights)) in wires.iter().zip(&played) {
                for (begun, until) in flights {
                    // A connection that was idle once is released; its next answer is waited for while
                    // it is owed, and its parts are not.
                    let first = flights.iter().find(|(_, until)| *until > 0);
                    if first == Some(&(*begun, *until)) && *begun < DELAY {
                        prop_assert!(!(*begun < end && end < *until), "{end}: {begun} {until} {wire:?}");
                    }
                }
            }
        }
        // What is owed at the end is said, and nothing else.
        let asked = flights().filter(|(begun, _)| *begun <= end).count();
        prop_assert!(last.cut as usize <= asked);
        if end < LENGTH {
            prop_assert_eq!(last.cut, 0);
        }
    }

    /// When all traffic is over, so is the drain: drain-idle later.
    #[test]
    fn silence_ends_the_drain(
        begun in -9000i64..0,
        all in prop::collection::vec(prop::collection::vec(exchange(900), 1..2), 0..5),
    ) {
        let played: Vec<_> = all.iter().map(|one| play(begun, one)).collect();
        let wires: Vec<Wire> =
            played.iter().zip(1..).map(|((said, _), key)| wire(said.clone()).named(key)).collect();
        let quiet = played.iter().flat_map(|(said, _)| said).map(|said| said.at).max();
        let quiet = quiet.map_or(DELAY, |last| (last + 4000).max(DELAY));
        let (end, last, _) = drain_by(RULES, &wires);
        prop_assert!(end <= quiet + 120, "{end}, {quiet}");
        // A connection that was released, and answered a request after that, is uncertain.
        prop_assert_eq!(last.cut, 0);
    }

    /// Any numbers are harmless, and the drain never ends with a debt.
    #[test]
    fn any_readings_are_harmless(
        samples in prop::collection::vec(
            prop::collection::vec((0u64..6, any::<[u32; 5]>(), any::<[u8; 6]>(), any::<[u64; 2]>()), 0..8),
            1..12,
        ),
        times in prop::collection::vec(0u64..40_000, 12),
        idle in 0u64..9000, owed in prop::option::of(0u64..9000),
    ) {
        let rules = Rules { idle: Duration::from_millis(idle), owed: owed.map(Duration::from_millis) };
        let mut table = Table::new(rules);
        for (readings, at) in samples.iter().zip(times) {
            let at = Duration::from_millis(at);
            let left = Duration::from_secs(40).saturating_sub(at);
            let left = (idle % 3 > 0).then_some(left);
            table.begin(Moment { at, delay_left: Duration::ZERO, left });
            for (key, words, small, large) in readings {
                let states = [
                    State::SynReceived, State::Established, State::CloseWait, State::FinWait1,
                    State::FinWait2, State::Closing, State::LastAck, State::Established,
                ];
                let info = Info {
                    sent: words[0] >> (words[0] & 31),
                    received: words[1] >> (words[1] & 31),
                    acknowledged: words[2] >> (words[2] & 31),
                    rtt: words[3],
                    retransmits: small[0],
                    probes: small[1],
                    backoff: small[2],
                    bytes_received: (small[3] & 1 > 0).then_some(large[0]),
                    bytes_acknowledged: (small[3] & 1 > 0).then_some(large[1]),
                    segments_in: (small[3] & 2 > 0).then_some(words[3]),
                    segments_out: (small[3] & 2 > 0).then_some(words[4]),
                };
                table.connection(&Reading {
                    key: *key,
                    peer: None,
                    port: 1,
                    state: states[usize::from(small[4] & 7)],
                    held: small[4] & 8 > 0,
                    unread: u32::from(small[5] & 3),
                    unsent: u32::from(small[5] >> 6),
                    info: (small[5] & 4 > 0).then_some(info),
                });
            }
            let all = table.end();
            prop_assert!(!all.over || (all.owed, all.queued) == (0, 0), "{all:?}");
            prop_assert!(all.next > Duration::ZERO && all.next <= PERIOD);
            prop_assert!(table.len() <= 6 && table.holders().len() <= 3);
        }
    }
}
