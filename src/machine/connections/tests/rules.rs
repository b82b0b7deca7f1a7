//! One after the other, as docs/drain.md has them.

use super::*;

const FIFTH: i64 = LENGTH - LENGTH / 5;
const TENTH: i64 = LENGTH - LENGTH / 10;

// ---- idle and released ------------------------------------------------------------------------

#[test]
fn nothing_ends_before_the_delay() {
    assert_eq!(drain(&[]), DELAY);
    ends(vec![ask(-90_000, 300), say(-89_000, 900)], DELAY);
}

#[test]
fn idle_the_app_spoke_last_and_nothing_moved_for_drain_idle() {
    ends(vec![ask(-900, 300), say(-800, 900)], 3200);
    ends(vec![ask(100, 300), say(1100, 900)], 5100);
}

#[test]
fn owed_for_as_long_as_it_takes() {
    ends(vec![ask(-900, 300), say(5000, 900)], 9000 - 100);
    lasts(vec![ask(-80_000, 300)]);
    lasts(vec![ask(-90_000, 300), say(-89_000, 900), ask(-50_000, 300)]);
}

#[test]
fn once_idle_after_the_delay_only_debts_count() {
    // Idle at the end of the delay; the other one holds the drain. The answer is in two parts.
    let other = wire(vec![ask(-900, 300), say(4000, 900), ask(7000, 300)]).named(2);
    let mut first = vec![ask(-90_000, 300), say(-89_000, 900)];
    let quiet_until = 7800;
    let other = Wire { gone: quiet_until, ..other };
    first.extend([ask(6000, 300), say(6100, 700)]);
    let end = drain(&[wire(first.clone()), other.clone()]);
    assert!((quiet_until..quiet_until + 100).contains(&end), "released: {end}");
    // A request holds it even so.
    first.extend([ask(7700, 300), say(8600, 700)]);
    let end = drain(&[wire(first), other]);
    assert!((8600..8700).contains(&end), "a debt: {end}");
}

#[test]
fn idle_before_the_end_of_the_delay_releases_nothing() {
    // Idle until just before the delay ends, then a request.
    ends(vec![ask(-90_000, 300), say(-89_000, 900), ask(1900, 300), say(1950, 900)], 5950);
}

#[test]
fn never_used_is_idle_after_a_second() {
    ends(vec![], DELAY);
    ends_at(&wire(vec![]).made(1500), 2500);
    // A server that speaks first.
    ends_at(&wire(vec![say(1500, 80)]).made(1500), 5500);
    // Where the kernel does not tell of bytes, it is not known that nothing was said.
    let mut old = wire(vec![]).made(1500);
    old.base.info = Some(Info::default());
    let mut table = Table::new(RULES);
    for at in [1500, 2600] {
        let mut reading = old.reading(at).expect("there");
        let info = Info { bytes_received: None, bytes_acknowledged: None, ..old.info(at) };
        reading.info = Some(info);
        table.begin(moment(at));
        table.connection(&reading);
        assert!(!table.end().over, "at {at}");
    }
}

// ---- unread, unacknowledged, not accepted -----------------------------------------------------

#[test]
fn unread_and_unacknowledged_bytes_hold_the_drain_to_its_end() {
    let quiet = wire(vec![ask(-90_000, 300), say(-89_000, 900)]);
    let unread = Wire { base: Reading { unread: 1, ..quiet.base }, ..quiet.clone() };
    assert_eq!(drain(&[unread]), LENGTH);
    let mut fresh = wire(vec![ask(-90_000, 300)]);
    fresh.said.extend((0..200).map(|n| say(n * 100, 900)));
    fresh.base.unsent = 500;
    assert_eq!(drain(&[fresh]), LENGTH);
}

#[test]
fn what_waits_to_be_accepted_holds_the_drain() {
    let quiet = wire(vec![ask(-90_000, 300)]);
    let waits = Wire { base: Reading { held: false, ..quiet.base }, ..quiet };
    let (end, last, _) = drain_by(RULES, std::slice::from_ref(&waits));
    assert_eq!((end, last.queued, last.owed), (LENGTH, 1, 0));
    let (end, ..) = drain_by(RULES, &[Wire { gone: 5000, ..waits }]);
    assert!((5000..5100).contains(&end));
}

#[test]
fn a_handshake_is_waited_for_until_the_next_sample() {
    let half = wire(vec![]).state(State::SynReceived).made(DELAY - 10);
    let half = Wire { base: Reading { held: false, info: None, ..half.base }, ..half };
    let (end, last, _) = drain_by(RULES, &[half]);
    assert_eq!((end, last.queued), (DELAY + 100, 0));
}

// ---- echo -------------------------------------------------------------------------------------

/// Exchanges of these sizes every two seconds, since long ago.
fn every_two_seconds(inward: u64, outward: u64, pause: i64, client_first: bool) -> Vec<Said> {
    let mut said = vec![ask(-95_000, 400), say(-94_900, 700)];
    for n in 0..12 {
        let at = -9000 + n * 2000;
        let (asks, answers) = if client_first { (at, at + pause) } else { (at + pause, at) };
        // No two bursts have one signature.
        let more = u64::try_from(n).expect("few");
        said.extend([ask(asks, inward + more), say(answers, outward + more)]);
    }
    said.sort_by_key(|said| said.at);
    said
}

#[test]
fn chatter_does_not_restart_the_clock() {
    for (inward, outward) in [(17, 17), (46, 46), (6, 2), (10, 6), (2, 6), (20, 12), (30, 17)] {
        for client_first in [true, false] {
            // The last one before the first sample was a movement like any other: at -1000.
            let said = every_two_seconds(inward, outward, 12, client_first);
            ends(said, 3000);
        }
    }
}

#[test]
fn an_exchange_of_other_sizes_is_no_chatter() {
    for (inward, outward) in [(22, 34), (7, 10), (14, 7), (17, 20), (161, 161), (200, 200)] {
        let said = every_two_seconds(inward, outward, 12, true);
        let end = drain(&[wire(said)]);
        assert!(end >= FIFTH, "{inward}/{outward}: {end}");
    }
}

#[test]
fn every_difference_but_six_is_none_of_an_echo() {
    for inward in 1..=170u64 {
        for outward in 1..=170u64 {
            let burst = [ask(500, inward), say(512, outward)];
            let mut said = vec![ask(-9000, 300), say(-8900, 900)];
            said.extend(burst);
            let difference =
                i64::try_from(inward).expect("small") - i64::try_from(outward).expect("small");
            let echo = inward <= 160 && outward <= 160 && [0, 4, -4, 8, 13].contains(&difference);
            let mut table = Table::new(RULES);
            let wires = [wire(said)];
            sample(&mut table, &wires, moment(0));
            let last = sample(&mut table, &wires, moment(600));
            assert_eq!(last.idle == 1, echo, "{inward}/{outward}: {last:?}");
        }
    }
}

#[test]
fn bytes_of_one_side_are_never_chatter() {
    ends(vec![ask(-90_000, 300), say(-89_000, 900), say(1500, 17)], 5500);
    lasts(vec![ask(-90_000, 300), say(-89_000, 900), ask(1500, 17)]);
}

#[test]
fn chatter_pays_no_debt() {
    // The call is answered late; the client's pings are answered meanwhile.
    let mut said = vec![ask(-90_000, 300), say(-89_000, 900), ask(100, 300)];
    for n in 0..4 {
        said.extend([ask(1000 + n * 1500, 17), say(1010 + n * 1500, 17)]);
    }
    said.push(say(6700, 900));
    ends(said.clone(), FIFTH);
    // Until the last fifth only since the app may not be through. An hour-glass of a shorter silence:
    let (end, ..) = drain_by(Rules { idle: ms(1000), owed: None }, &[wire(said)]);
    assert!((7700..7800).contains(&end), "{end}");
}

#[test]
fn a_burst_lasts_while_pauses_are_short() {
    // The app's last movement before is at 1000. Alone, each of these pairs would be chatter.
    for (pings, pongs) in [(1310, 1320), (1410, 1470)] {
        lasts(vec![ask(900, 300), say(1000, 900), say(pings, 17), ask(pongs, 17)]);
    }
    // What follows the handshake at once belongs to a burst whose beginning a sample has shown already.
    ends_at(&wire(vec![ask(1110, 17), say(1120, 17)]).made(1000), 5120);
}

#[test]
fn a_silence_without_an_end_is_waited_for_to_the_last_fifth() {
    let rules = Rules { idle: Duration::MAX, owed: None };
    let (end, ..) = drain_by(rules, &[wire(vec![ask(-900, 300), say(-800, 900)])]);
    assert!((FIFTH..FIFTH + 100).contains(&end), "{end}");
}

// ---- repeat and uniform -----------------------------------------------------------------------

#[test]
fn a_checker_that_repeats_itself_is_idle_at_once() {
    // Every 2.5 s, answered after 30 ms; the answer of another size each time but the last ones.
    let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
    for at in [400, 2900, 5400] {
        said.extend([ask(at, 180), say(at + 30, 500)]);
    }
    // The first exchange is idle at 4430, after the second one began, whose signature is known.
    ends(said, 2930 + 300);
}

#[test]
fn a_repetition_needs_the_app_strictly_last_once() {
    let exchange = |at, pause| [ask(at, 180), say(at + pause, 500)];
    let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
    said.extend([400, 2900].map(|at| exchange(at, 0)).concat());
    ends(said.clone(), 2900 + 4000);
    said.truncate(2);
    said.extend(exchange(400, 30));
    said.extend(exchange(2900, 0));
    ends(said, 2900 + 300);
}

#[test]
fn a_repetition_has_one_segment_of_the_clients() {
    let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
    for at in [400, 2900] {
        said.extend([Said { segments: 2, ..ask(at, 180) }, say(at + 30, 500)]);
    }
    ends(said, 2930 + 4000);
}

#[test]
fn a_signature_that_was_strict_once_stays_so() {
    let exchange = |at, pause| [ask(at, 180), say(at + pause, 500)];
    let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
    said.extend([(600, 0), (1200, 30), (1900, 0)].map(|(at, pause)| exchange(at, pause)).concat());
    ends(said, 1900 + 300);
}

#[test]
fn only_a_request_with_its_answer_is_a_repetition() {
    // An answer alone: the client's segments carry nothing new.
    let again = |at| [ask(at - 10, 0), say(at, 500)];
    let mut said = vec![ask(-90_000, 300)];
    said.extend(again(100));
    said.push(ask(700, 300));
    said.extend(again(1900));
    ends(said, 1900 + 4000);
    // Requests alone are not remembered in place of an exchange.
    let exchange = |at| [ask(at, 180), say(at + 30, 500)];
    let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
    said.extend(exchange(100));
    for (at, more) in [(1000, 0), (2000, 1), (3000, 2), (4000, 3)] {
        said.extend([ask(at, 300 + more), say(at + 500, 700 + more)]);
    }
    said.extend(exchange(5600));
    ends(said, 5630 + 300);
}

#[test]
fn what_is_too_large_to_be_counted_is_no_repetition() {
    const LARGE: u64 = 5 << 30;
    for (inward, outward) in [(180, LARGE), (LARGE, 500)] {
        let mut said = vec![ask(-90_000, 20), say(-89_000, 900)];
        for at in [600, 1900] {
            said.extend([ask(at, inward), say(at + 30, outward)]);
        }
        ends(said, 1930 + 4000);
    }
}

fn uniform(requests: i64) -> Vec<Said> {
    (0..requests).flat_map(|n| [ask(n * 1000 - 40_000, 180), say(n * 1000 - 39_980, 500)]).collect()
}

#[test]
fn a_life_that_was_alike_is_idle_at_once() {
    let mut said = uniform(20);
    said.extend([ask(1990, 180), say(1999, 500)]);
    ends(said.clone(), 2300);
    // One byte more, once.
    said[0].bytes += 1;
    ends(said, 6000);
    let mut few = uniform(6);
    few.extend([ask(1990, 180), say(1999, 500)]);
    ends(few.clone(), 6000);
    few.insert(0, ask(-80_000, 180));
    few.insert(1, say(-79_990, 500));
    ends(few, 2300);
}

#[test]
fn of_a_uniform_life_a_request_is_owed_all_the_same() {
    let mut said = uniform(20);
    said.push(ask(1990, 180));
    lasts(said);
}

// ---- doubt ------------------------------------------------------------------------------------

fn both_at(at: i64, inward: u32, outward: u32) -> Vec<Said> {
    vec![
        ask(-90_000, 300),
        say(-89_000, 900),
        Said { segments: inward, ..ask(at, 310) },
        Said { segments: outward, ..say(at, 900) },
    ]
}

#[test]
fn both_in_the_same_jiffy_answered_if_as_many_segments_left_as_came() {
    ends(both_at(1000, 1, 1), 5000);
    ends(both_at(1000, 1, 3), 5000);
    ends(both_at(-1000, 2, 2), 3000);
    let wires = [wire(both_at(1000, 1, 1))];
    let mut table = Table::new(RULES);
    sample(&mut table, &wires, moment(0));
    let last = sample(&mut table, &wires, moment(1100));
    assert_eq!((last.busy, last.owed, last.cut), (1, 0, 0));
}

#[test]
fn both_in_the_same_jiffy_one_segment_short_is_held_to_the_last_fifth() {
    ends(both_at(1000, 2, 1), FIFTH);
    ends(both_at(-1000, 2, 1), FIFTH);
    let (_, last, _) = drain_by(RULES, &[wire(both_at(1000, 2, 1))]);
    assert_eq!((last.cut, last.uncertain), (0, 0), "answered long ago");
}

#[test]
fn both_in_the_same_jiffy_many_segments_short_is_owed_for_drain_idle() {
    ends(both_at(1000, 9, 1), 5000);
    ends(both_at(-1000, 9, 1), 3000);
    let mut table = Table::new(RULES);
    let wires = [wire(both_at(1000, 9, 1))];
    sample(&mut table, &wires, moment(0));
    assert_eq!(sample(&mut table, &wires, moment(1100)).owed, 1);
}

#[test]
fn of_the_present_burst_only_its_own_segments_count() {
    // Long ago many segments left for one that came.
    let mut said = vec![ask(-90_000, 300), Said { segments: 90, ..say(-89_000, 90_000) }];
    said.extend([Said { segments: 2, ..ask(1000, 310) }, say(1000, 900)]);
    ends(said, FIFTH);
}

#[test]
fn chatter_in_the_same_jiffy_owes_nothing() {
    let mut said = vec![ask(-90_000, 300), say(-89_000, 900)];
    said.extend([ask(1000, 17), say(1000, 17)]);
    ends(said, DELAY);
}

#[test]
fn where_segments_are_not_told_a_doubt_is_owed_for_drain_idle() {
    let both = wire(both_at(1000, 2, 1));
    let mut table = Table::new(RULES);
    let mut verdict_at = |at| {
        let mut reading = both.reading(at).expect("there");
        let info = Info { segments_in: None, segments_out: None, ..both.info(at) };
        reading.info = Some(info);
        table.begin(moment(at));
        table.connection(&reading);
        table.end()
    };
    assert_eq!(verdict_at(0).idle, 1);
    assert_eq!(verdict_at(1500).owed, 1);
    assert_eq!(verdict_at(4900).owed, 1);
    assert_eq!(verdict_at(5000).idle, 1);
}

// ---- owed but balanced ------------------------------------------------------------------------

#[test]
fn a_pong_from_before_the_first_sample_is_owed_for_drain_idle() {
    let balanced = |pause: i64| {
        vec![ask(-90_000, 300), say(-89_000, 900), say(-1000, 2), ask(-1000 + pause, 6)]
    };
    ends(balanced(8), 3000);
    ends(balanced(20), 3020);
    lasts(balanced(60));
    let mut far = wire(balanced(60));
    far.base.info = Some(Info { rtt: 40_000, ..Info::default() });
    ends_at(&far, 3060);
    // More segments came than left.
    let mut more = balanced(8);
    more.insert(0, Said { segments: 5, ..ask(-95_000, 9000) });
    lasts(more);
}

#[test]
fn a_request_right_after_an_answer_within_the_drain_is_owed_whole() {
    let mut said = vec![ask(-90_000, 300), say(-89_000, 900)];
    said.extend([ask(500, 300), Said { segments: 3, ..say(700, 3000) }, ask(704, 310)]);
    lasts(said);
}

// ---- vanished and stalled ---------------------------------------------------------------------

fn unsent(retransmits: u8, probes: u8, acknowledged: u32, sent: i64) -> Wire {
    let mut lost = wire(vec![ask(-95_000, 300), say(sent, 900)]);
    lost.base.unsent = 900;
    lost.base.info = Some(Info { retransmits, probes, acknowledged, ..Info::default() });
    lost
}

#[test]
fn vanished_nothing_acknowledged_and_sent_again_and_again() {
    for state in
        [State::Established, State::CloseWait, State::FinWait1, State::LastAck, State::Closing]
    {
        for (retransmits, probes, expected) in [(4, 0, DELAY), (0, 2, DELAY), (3, 1, LENGTH)] {
            let lost = unsent(retransmits, probes, 5000, -100).state(state);
            let (end, last, _) = drain_by(RULES, &[lost]);
            // With no retransmission it is stalled after drain-idle, whatever the probes say.
            assert_eq!(end, expected, "{state:?} {retransmits} {probes}");
            assert_eq!(last.vanished, u32::from(expected == DELAY));
            assert_eq!(
                last.cut,
                u32::from(expected != DELAY),
                "an answer that cannot arrive is not cut off"
            );
        }
    }
}

#[test]
fn where_there_is_time_a_longer_outage_is_waited_for() {
    let lost = unsent(4, 0, 7000, -100);
    let long = |left| Moment { at: Duration::ZERO, delay_left: Duration::ZERO, left };
    for (left, vanished) in [(Some(ms(19_999)), 1), (Some(ms(20_000)), 0), (None, 0)] {
        let mut table = Table::new(RULES);
        let last = sample(&mut table, std::slice::from_ref(&lost), long(left));
        assert_eq!((last.vanished, last.over), (vanished, vanished == 1), "{left:?}");
    }
    let lost = unsent(4, 0, 8000, -100);
    assert_eq!(sample(&mut Table::new(RULES), &[lost], long(None)).vanished, 1);
}

#[test]
fn stalled_the_client_does_not_read() {
    let (end, last, _) = drain_by(RULES, &[unsent(0, 0, 100, -1000)]);
    assert_eq!((end, last.stalled, last.cut), (3000, 1, 1));
    // A shorter silence than a retransmission takes says nothing.
    let rules = Rules { idle: ms(100), owed: None };
    let (end, ..) = drain_by(rules, &[unsent(0, 0, 100, 1500)]);
    assert!((2500..=2600).contains(&end), "{end}");
    // Sent again: it is the network.
    assert_eq!(drain(&[unsent(1, 0, 100, -1000)]), LENGTH);
}

#[test]
fn a_client_that_comes_back_is_waited_for_again() {
    let mut table = Table::new(RULES);
    let lost = unsent(4, 0, 6000, -100);
    assert_eq!(sample(&mut table, std::slice::from_ref(&lost), moment(3000)).holding, 0);
    let mut back = lost;
    back.base.info = Some(Info::default());
    back.said.push(say(3050, 900));
    assert_eq!(sample(&mut table, &[back], moment(3100)).holding, 1);
}

// ---- no process -------------------------------------------------------------------------------

#[test]
fn an_app_that_closed_owes_nothing_but_what_it_wrote() {
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        for (unsent, end) in [(0, DELAY), (1, DELAY), (2, LENGTH)] {
            let mut closed = wire(vec![ask(-80_000, 300)]).state(state);
            closed.said.extend((0..200).map(|n| say(n * 100, 900)));
            closed.base = Reading { unsent, held: false, ..closed.base };
            assert_eq!(drain(&[closed]), end, "{state:?} {unsent}");
        }
    }
    let closed = wire(vec![ask(-80_000, 300)]).state(State::FinWait2);
    assert_eq!(drain(std::slice::from_ref(&closed)), DELAY);
    let upload = |held| Wire { base: Reading { held, unread: 5, ..closed.base }, ..closed.clone() };
    assert_eq!(drain(&[upload(true)]), LENGTH);
    assert_eq!(drain(&[upload(false)]), DELAY, "no process reads it");
}

// ---- close-wait and half a request --------------------------------------------------------------

#[test]
fn a_client_that_closed_its_side_is_owed_for_drain_idle() {
    ends_at(&wire(vec![ask(-1000, 300)]).state(State::CloseWait), 3000);
    ends_at(&wire(vec![ask(500, 300)]).state(State::CloseWait), 4500);
    // Its FIN is no byte and asks for nothing, also while the app has not read it.
    let quiet = wire(vec![ask(-90_000, 300), say(-89_000, 900)]).state(State::CloseWait);
    let with = |unread| Wire { base: Reading { unread, ..quiet.base }, ..quiet.clone() };
    assert_eq!(drain(&[with(0)]), DELAY);
    assert_eq!(drain(&[with(1)]), DELAY);
    assert_eq!(drain(&[with(2)]), LENGTH);
    assert_eq!(drain(&[wire(vec![]).state(State::CloseWait)]), DELAY);
}

#[test]
fn half_a_request_is_owed_for_drain_idle() {
    ends(vec![ask(-1000, 8)], 3000);
    let (_, last, _) = drain_by(RULES, &[wire(vec![ask(-1000, 8)])]);
    assert_eq!((last.cut, last.uncertain), (0, 0));
    ends(vec![ask(-1000, 15)], 3000);
    let (end, ..) = drain_by(Rules { idle: ms(8000), owed: None }, &[wire(vec![ask(-500, 8)])]);
    assert_eq!(end, 3500, "four seconds at most");
    lasts(vec![ask(-1000, 16)]);
    lasts(vec![ask(-9000, 300), say(-8900, 900), ask(-1000, 8)]);
}

#[test]
fn an_answer_is_owed_no_longer_than_drain_owed() {
    let rules = Rules { owed: Some(ms(6000)), ..RULES };
    let (end, last, _) = drain_by(rules, &[wire(vec![ask(-1000, 300)])]);
    assert_eq!((end, last.cut, last.uncertain), (5000, 0, 1));
    let rules = Rules { owed: Some(ms(500)), ..RULES };
    assert_eq!(drain_by(rules, &[wire(vec![ask(-1000, 8)])]).0, DELAY);
    assert_eq!(drain_by(rules, &[wire(both_at(-1000, 2, 1))]).0, DELAY);
}

// ---- the end of the time ----------------------------------------------------------------------

/// An answer in parts, so many milliseconds apart.
fn stream(begun: i64, step: i64) -> Vec<Said> {
    let mut said = vec![ask(begun, 300)];
    // Of different sizes.
    said.extend((1..400).map(|n| say(begun + n * step, 40 + u64::try_from(n % 7).expect("small"))));
    said
}

#[test]
fn a_stream_of_tokens_is_not_ended_between_two_of_them_before_the_last_tenth() {
    let end = drain(&[wire(stream(-9000, 250))]);
    assert!((TENTH..TENTH + 200).contains(&end), "{end}");
}

#[test]
fn in_the_last_fifth_an_app_that_pauses_is_stopped() {
    let end = drain(&[wire(stream(-9000, 1500))]);
    assert!((FIFTH..FIFTH + 1100).contains(&end), "{end}");
}

#[test]
fn in_the_last_fifth_an_app_whose_client_speaks_is_stopped() {
    let mut said = stream(-9000, 250);
    said.push(ask(3001, 77));
    said.sort_by_key(|said| said.at);
    let end = drain(&[wire(said)]);
    assert!((FIFTH..FIFTH + 100).contains(&end), "{end}");
}

#[test]
fn near_the_end_a_moment_without_debts_is_taken() {
    // Ten clients that ask again and again; the last ones have pauses at one moment only.
    let busy = |key: u64, until: i64| {
        let mut said = vec![];
        let mut at = -5000;
        while at < until {
            // Sizes that differ, so that nothing repeats itself.
            let size = 300 + at.unsigned_abs() % 97;
            said.extend([ask(at, size), say(at + 90, 2 * size)]);
            at += 100;
        }
        said.extend([ask(until + 350, 300), say(until + 5000, 999)]);
        wire(said).named(key)
    };
    let wires: Vec<Wire> = (1..10).map(|key| busy(key, FIFTH + 500)).collect();
    let (end, last, _) = drain_by(RULES, &wires);
    assert_eq!((last.cut, last.owed), (0, 0));
    assert!((FIFTH..FIFTH + 900).contains(&end), "{end}");
}

#[test]
fn nothing_owed_is_ever_left_before_the_end() {
    lasts(vec![ask(-1000, 300), say(LENGTH + 5, 900)]);
}

#[test]
fn a_drain_without_an_end_has_no_last_fifth() {
    let mut table = Table::new(RULES);
    let wires = [wire(stream(-9000, 250))];
    for at in (0..80_000).step_by(100) {
        let moment = Moment { left: None, ..moment(at) };
        assert!(!sample(&mut table, &wires, moment).over, "at {at}");
    }
}

/// Over a network with a round trip, the app is strictly last where both sides spoke in one jiffy on loopback.
#[test]
fn pings_and_equal_messages_of_a_stream_are_no_routine() {
    // A call of five seconds, with a ping each second: it looks answered by the pong that left after the request.
    let pings = (0..6).flat_map(|n| [ask(n * 1000 - 400, 17), say(n * 1000 - 390, 17)]);
    let call = wire([ask(-420, 130)].into_iter().chain(pings).collect());
    let (end, _, _) = drain_by(RULES, &[call]);
    assert!(end >= 3500, "the pings end nothing before --drain-idle: {end}");
    // Messages of the app, and each fourth time the client says that it has read them.
    let stream = (0..16).flat_map(|n| {
        let at = n * 600 - 500;
        let read = [ask(at + 20, 30), say(at + 30, 17)];
        [say(at, 64)].into_iter().chain(read.into_iter().filter(move |_| n % 4 == 3))
    });
    let stream = wire([ask(-800, 130)].into_iter().chain(stream).collect());
    let (end, _, _) = drain_by(RULES, &[stream]);
    assert!(end >= 15 * 600 - 500, "the stream is not cut off: {end}");
}
