//! What the samples say together, and what is remembered.

use super::*;

fn idle(key: u64) -> Wire {
    wire(vec![ask(-90_000, 300), say(-89_000, 900)]).named(key)
}

fn owed(key: u64) -> Wire {
    wire(vec![ask(-90_000, 300)]).named(key)
}

#[test]
fn every_verdict_has_its_number() {
    let recent = wire(vec![ask(-90_000, 300), say(-100, 900)]).named(3);
    let unread = Wire { base: Reading { unread: 3, ..idle(4).base }, ..idle(4) };
    let waits = Wire { base: Reading { held: false, ..idle(5).base }, ..idle(5) };
    let mut vanished = Wire { base: Reading { unsent: 3, ..idle(6).base }, ..idle(6) };
    vanished.base.info = Some(Info { retransmits: 9, acknowledged: 9000, ..Info::default() });
    let stalled = Wire { base: Reading { unsent: 3, ..idle(7).base }, ..idle(7) };
    let closed = idle(8).state(State::FinWait2);
    let wires = [idle(1), owed(2), recent, unread, waits, vanished, stalled, closed];
    let mut table = Table::new(RULES);
    let first = sample(&mut table, &wires, moment(0));
    assert_eq!((first.busy, first.owed, first.idle), (2, 1, 2));
    assert_eq!((first.vanished, first.stalled, first.queued), (1, 1, 1));
    assert_eq!((first.new, first.released, first.holding), (0, 0, 3));
    assert_eq!((first.cut, first.uncertain), (3, 1));
    let later = sample(&mut table, &wires, moment(DELAY));
    assert_eq!((later.released, later.over), (2, false));
    assert_eq!(table.len(), 8);
}

#[test]
fn new_is_what_the_sample_before_has_not_seen() {
    let mut table = Table::new(RULES);
    let mut at = 0;
    let mut new = |keys: &[u64]| {
        let wires: Vec<Wire> = keys.iter().map(|key| idle(*key)).collect();
        at += 100;
        sample(&mut table, &wires, moment(at)).new
    };
    assert_eq!(new(&[3, 1, 2]), 0, "nothing is known of the time before");
    assert_eq!(new(&[2, 3, 1]), 0);
    assert_eq!(new(&[3, 4, 9]), 2);
    assert_eq!(new(&[]), 0);
    assert_eq!(new(&[3]), 1);
}

#[test]
fn listeners_and_unaccepted_connections_are_not_counted_twice() {
    let waits = |key| Wire { base: Reading { held: false, ..idle(key).base }, ..idle(key) };
    let mut table = Table::new(RULES);
    for (backlog, queued) in [(1, 3), (2, 4)] {
        table.begin(moment(0));
        for key in 1..=3 {
            table.connection(&waits(key).reading(0).expect("there"));
        }
        table.listener(backlog);
        table.listener(backlog);
        assert_eq!(table.end().queued, queued);
    }
}

#[test]
fn what_could_not_be_seen_is_waited_for() {
    let mut table = Table::new(RULES);
    table.begin(moment(LENGTH - 1));
    table.incomplete();
    assert!(!table.end().over);
    table.begin(moment(LENGTH - 1));
    assert!(table.end().over);
}

#[test]
fn datagrams_are_waited_for_and_half_a_second_after_them() {
    let mut table = Table::new(RULES);
    let mut over = |at, sockets, silence| {
        table.begin(moment(at));
        table.datagrams(sockets, ms(silence));
        let last = table.end();
        assert_eq!(last.queued, sockets);
        (last.over, last.next)
    };
    assert_eq!(over(3000, 1, 900), (false, PERIOD));
    assert_eq!(over(3000, 0, 450), (false, ms(50)));
    assert_eq!(over(3000, 0, 500), (true, PERIOD));
    assert!(!over(LENGTH - LENGTH / 5, 0, 0).0);
    assert!(over(LENGTH - LENGTH / 10, 0, 0).0);
}

#[test]
fn a_sample_begun_again_counts_nothing_twice() {
    let mut table = Table::new(RULES);
    let wires = [idle(1), owed(2)];
    sample(&mut table, &wires, moment(0));
    table.begin(moment(3000));
    for wire in [&wires[0], &owed(9)] {
        table.connection(&wire.reading(3000).expect("there"));
    }
    table.listener(4);
    table.datagrams(2, Duration::ZERO);
    let last = sample(&mut table, &wires, moment(3000));
    assert_eq!((last.idle, last.owed, last.new, last.queued), (1, 1, 0, 0));
    assert_eq!(table.holders()[0].held, ms(3000), "the time passed once");
    let holding: Vec<_> = table.holding().iter().map(|one| (one.verdict, one.held)).collect();
    assert_eq!(holding, [(Verdict::Owed, ms(3000))]);
}

#[test]
fn a_connection_told_of_twice_counts_once() {
    let mut table = Table::new(RULES);
    for at in [0, 100] {
        let all = sample(&mut table, &[idle(1), owed(2), idle(1), owed(2)], moment(at));
        assert_eq!((all.idle, all.owed, table.len()), (1, 1, 2));
    }
}

#[test]
fn the_next_sample_is_made_when_something_can_have_changed() {
    let at = |wires: &[Wire], now| sample(&mut Table::new(RULES), wires, moment(now)).next;
    assert_eq!(at(&[idle(1)], 1970), ms(30), "the end of the delay");
    assert_eq!(at(&[owed(1)], 5000), PERIOD);
    let recent = wire(vec![ask(-90_000, 300), say(1000, 900)]);
    assert_eq!(at(std::slice::from_ref(&recent), 4960), ms(40), "idle");
    let later = wire(vec![ask(-90_000, 300), say(1040, 900)]).named(2);
    assert_eq!(at(&[recent.clone(), later], 4960), ms(80), "both idle");
    assert_eq!(at(&[recent, owed(2)], 4960), PERIOD, "a debt");
    assert_eq!(at(&[owed(1)], LENGTH - LENGTH / 5 - 10), ms(10), "the last fifth");
}

// ---- who held the drain -----------------------------------------------------------------------

#[test]
fn the_three_that_held_the_drain_longest_are_named() {
    let client = |last: u8| Some(SocketAddr::from(([10, 0, 0, last], 40_000 + u16::from(last))));
    let from =
        |wire: Wire, last| Wire { base: Reading { peer: client(last), ..wire.base }, ..wire };
    let wires = [
        from(owed(1), 1),
        from(idle(2), 2),
        from(Wire { gone: 5000, ..owed(3) }, 3),
        from(Wire { gone: 1000, ..owed(4) }, 4),
        from(wire(stream()).named(5), 5),
    ];
    let (end, _, table) = drain_by(RULES, &wires);
    assert_eq!(end, LENGTH);
    let holders = table.holders();
    let told: Vec<_> = holders.iter().map(|one| (one.peer, one.verdict, one.gone)).collect();
    assert_eq!(
        told,
        [
            (client(1), Verdict::Owed, false),
            (client(5), Verdict::Recent, false),
            (client(3), Verdict::Owed, true)
        ]
    );
    assert_eq!((holders[0].held, holders[0].bytes_in, holders[0].port), (ms(LENGTH), 300, 8080));
    assert_eq!(holders[0].silent, ms(LENGTH + 90_000));
    let remedies: Vec<_> = holders.iter().map(|one| one.remedy().option()).collect();
    assert_eq!(remedies, ["--drain-owed", "--drain-max", "--drain-owed"]);
    let (_, _, table) = drain_by(RULES, &[wire(vec![ask(-100, 300), say(-90, 900)])]);
    assert_eq!(table.holders()[0].remedy(), Remedy::Idle);
}

fn stream() -> Vec<Said> {
    let parts = (1..400).map(|n| say(-9000 + n * 250, 40 + u64::try_from(n % 7).expect("small")));
    [ask(-9000, 300)].into_iter().chain(parts).collect()
}

#[test]
fn a_peer_is_told_as_it_came() {
    for peer in ["10.0.0.7:1", "[2001:db8::7]:40000", "[::1]:65535"] {
        let peer: SocketAddr = peer.parse().expect("an address");
        let wires = [Wire { base: Reading { peer: Some(peer), ..owed(1).base }, ..owed(1) }];
        let (_, _, table) = drain_by(RULES, &wires);
        assert_eq!(table.holders()[0].peer, Some(peer));
    }
    let wires = [Wire { base: Reading { peer: None, ..owed(1).base }, ..owed(1) }];
    assert_eq!(drain_by(RULES, &wires).2.holders()[0].peer, None);
}

#[test]
fn what_did_not_hold_the_drain_is_not_named() {
    assert_eq!(drain_by(RULES, &[idle(1)]).2.holders(), []);
}

// ---- little to be seen ------------------------------------------------------------------------

#[test]
fn where_only_queues_are_seen_silence_of_the_queues_is_waited_for() {
    let bare = |key, unread| {
        let base = Reading { info: None, unread, ..idle(key).base };
        Wire { base, ..idle(key) }
    };
    let (end, last, _) = drain_by(RULES, &[bare(1, 0), bare(2, 0)]);
    assert_eq!((end, last.idle), (4000, 2));
    assert_eq!(drain(&[bare(1, 0), bare(2, 5)]), LENGTH);
    let mut table = Table::new(RULES);
    for (at, unread, busy) in [(0, 0, 1), (3000, 5, 1), (3100, 0, 1), (7000, 0, 1), (7200, 0, 0)] {
        let last = sample(&mut table, &[bare(1, unread)], moment(at));
        assert_eq!(
            (last.busy, last.uncertain),
            (busy, u32::from(busy == 1 && unread == 0)),
            "at {at}"
        );
    }
    let orphan =
        Wire { base: Reading { info: None, unsent: 9, held: false, ..idle(1).base }, ..idle(1) };
    let (end, last, _) = drain_by(RULES, &[orphan.state(State::FinWait1)]);
    assert_eq!((end, last.stalled), (8000, 1), "a queue that does not change");
}

#[test]
fn of_a_unix_socket_its_end_is_waited_for() {
    let fifth = LENGTH - LENGTH / 5;
    let plain = wire(vec![]).state(State::Local);
    let with = |unread, unsent, held| {
        let base = Reading { info: None, peer: None, unread, unsent, held, ..plain.base };
        [Wire { base, ..plain.clone() }]
    };
    let (end, last, _) = drain_by(RULES, &with(0, 0, true));
    assert!((fifth..fifth + 100).contains(&end), "{end}");
    assert_eq!((last.busy, last.cut, last.uncertain, last.holding), (1, 0, 1, 1));
    let (end, ..) = drain_by(RULES, &[Wire { gone: 5000, ..with(0, 0, true)[0].clone() }]);
    assert!((5000..5100).contains(&end), "{end}");
    let limited = Rules { owed: Some(ms(3000)), ..RULES };
    let (end, last, _) = drain_by(limited, &with(0, 0, true));
    assert_eq!((end, last.idle), (3000, 1), "--drain-owed");
    for rules in [RULES, limited] {
        let (end, last, _) = drain_by(rules, &with(5, 0, true));
        assert_eq!((end, last.busy, last.cut), (LENGTH, 1, 1), "unread");
        let (end, last, _) = drain_by(rules, &with(0, 5, true));
        assert_eq!((end, last.stalled, last.cut), (8000, 1, 1), "not read by the client");
        let first = sample(&mut Table::new(rules), &with(0, 5, true), moment(0));
        assert_eq!((first.busy, first.cut), (1, 1), "on its way");
        let (end, last, _) = drain_by(rules, &with(0, 0, false));
        assert_eq!((end, last.queued), (LENGTH, 1), "to be accepted");
    }
}

#[test]
fn where_only_queues_are_seen_a_change_of_a_queue_counts() {
    let bare = |unread, unsent, state| {
        let base = Reading { info: None, unread, unsent, ..idle(1).base };
        [Wire { base, ..idle(1) }.state(state)]
    };
    let mut table = Table::new(RULES);
    for (at, unsent, stalled) in [(0, 5, 0), (2000, 6, 0), (9900, 6, 0), (10_000, 6, 1)] {
        let last = sample(&mut table, &bare(0, unsent, State::Established), moment(at));
        assert_eq!((last.stalled, last.uncertain), (stalled, 0), "at {at}");
    }
    // The client's FIN is no byte.
    for (state, unread, cut) in
        [(State::Established, 1, 1), (State::CloseWait, 1, 0), (State::CloseWait, 2, 1)]
    {
        let last = sample(&mut Table::new(RULES), &bare(unread, 0, state), moment(0));
        assert_eq!((last.cut, last.uncertain), (cut, 1 - cut), "{state:?} {unread}");
    }
}

/// Requests that come in the delay leave no trace in the queues: the segments of the whole namespace are all that tells.
#[test]
fn where_only_queues_are_seen_traffic_in_the_delay_is_traffic_of_each_connection() {
    let bare = Wire { base: Reading { info: None, ..idle(1).base }, ..idle(1) };
    let end = |moves: &dyn Fn(i64) -> bool| {
        let mut table = Table::new(RULES);
        (0..LENGTH / 100).map(|number| number * 100).find(|at| {
            let moment = moment(*at);
            table.begin(moment);
            if moves(*at) {
                table.traffic();
            }
            let last = bare.reading(*at).map(|reading| table.connection(&reading));
            last.is_some() && table.end().over
        })
    };
    let idle = 4000;
    assert_eq!(end(&|_| false), Some(idle), "counted from the first sample");
    assert_eq!(end(&|at| at == 1000), Some(1000 + idle));
    // The sample at the end of the delay shows what came before it.
    assert_eq!(end(&|_| true), Some(DELAY + idle), "health checks do not hold the drain");
    assert_eq!(end(&|at| at > DELAY), Some(idle));
}

// ---- memory -----------------------------------------------------------------------------------

#[test]
fn ten_thousand_connections_take_less_than_two_megabytes() {
    let size = size_of::<Memory>();
    assert!(size <= 160, "{size} bytes for each connection");
}

#[test]
fn what_is_not_remembered_is_judged_by_its_sample() {
    let mut table = Table { most: 2, ..Table::new(RULES) };
    let wires = [idle(1), idle(2), idle(3), owed(4), wire(vec![ask(-9, 300), say(-4, 9)]).named(5)];
    for at in [0, 3000, 3100] {
        let all = sample(&mut table, &wires[..4], moment(at));
        assert_eq!((all.idle, all.owed, all.over, table.len()), (3, 1, false, 2));
        // Whether the former sample has shown it is not known.
        assert_eq!(all.new, if at == 0 { 0 } else { 2 }, "at {at}");
    }
    assert!(sample(&mut table, &wires[..3], moment(3200)).over);
    assert!(!sample(&mut table, &wires, moment(3300)).over);
}

#[test]
fn what_has_gone_is_forgotten() {
    let mut table = Table::new(RULES);
    let wires: Vec<Wire> = (0..100).map(idle).collect();
    sample(&mut table, &wires, moment(0));
    assert_eq!((table.len(), table.is_empty()), (100, false));
    sample(&mut table, &wires[..1], moment(100));
    assert_eq!(table.len(), 1);
    sample(&mut table, &[], moment(200));
    assert!(table.is_empty());
}

/// What the drain says of a shorter `--drain-idle` when it ends. `hidden`: at these times not everything can be seen.
fn hint(mut table: Table, wires: &[Wire], hidden: &dyn Fn(i64) -> bool) -> Option<u128> {
    (0..LENGTH / 100).map(|number| number * 100).find_map(|at| {
        table.begin(moment(at));
        for reading in wires.iter().filter_map(|wire| wire.reading(at)) {
            table.connection(&reading);
        }
        if hidden(at) {
            table.incomplete();
        }
        let last = table.end();
        last.over.then_some(last.sooner.as_millis())
    })
}

/// No two are alike: what repeats itself is idle at once.
fn exchange(at: i64) -> [Said; 2] {
    [ask(at, 200), say(at + 20, 900 + at.unsigned_abs())]
}

/// The last exchange ends at 1470. With an idle time of a second the drain would be over with the sample at 2500.
fn pool() -> Wire {
    wire([50, 750, 1450].into_iter().flat_map(exchange).collect()).named(1)
}

/// A shorter `--drain-idle` is recommended where the drain itself shows that it would have done.
#[test]
fn a_shorter_idle_is_a_hint_only_if_nothing_speaks_against_it() {
    let two = || wire([50, 750].into_iter().flat_map(exchange).collect()).named(1);
    // The second part of an answer, after a pause.
    let parts = || wire(vec![ask(600, 200), say(620, 900), say(1700, 900)]).named(2);
    // A request after the moment at which the drain would have ended.
    let late = || wire(exchange(4000).to_vec()).named(2);
    // Work that takes long is no pause within an answer.
    let slow = || wire(vec![ask(300, 200), say(1900, 900)]).named(2);
    let end = |wires: &[Wire], rules: Rules| hint(Table::new(rules), wires, &|_| false);
    assert_eq!(end(&[pool()], RULES), Some(3000));
    assert_eq!(end(&[pool(), slow()], RULES), Some(3000));
    assert_eq!(end(&[two()], RULES), Some(0), "too few exchanges");
    assert_eq!(end(&[pool(), parts()], RULES), Some(0), "an answer in parts");
    assert_eq!(end(&[pool(), late()], RULES), Some(0), "it would have been cut off");
    let short = Rules { idle: ms(1000), owed: None };
    assert_eq!(end(&[pool()], short), Some(0), "it is short already");
}

#[test]
fn the_hint_counts_from_when_nothing_else_held_the_drain() {
    let until = |wire: Wire| Wire { gone: 3000, ..wire };
    let waits = Wire { base: Reading { held: false, ..idle(2).base }, ..idle(2) };
    let end = |wires: &[Wire]| hint(Table::new(RULES), wires, &|_| false);
    assert_eq!(end(&[pool(), until(owed(2))]), Some(2500), "a debt");
    assert_eq!(end(&[pool(), until(waits)]), Some(2500), "to be accepted");
    assert_eq!(hint(Table::new(RULES), &[pool()], &|at| at < 3000), Some(2500), "hidden");
}

#[test]
fn the_hint_counts_exchanges_of_connections_that_have_gone() {
    // One request for each connection.
    let short = |key: u64, at: i64, gone| Wire {
        gone,
        ..wire(exchange(at).to_vec()).named(key).made(at - 10)
    };
    let wires = || [short(1, 50, 600), short(2, 750, 1400), short(3, 1450, i64::MAX)];
    assert_eq!(hint(Table::new(RULES), &wires(), &|_| false), Some(3000));
    assert_eq!(hint(Table::new(RULES), &wires()[1..], &|_| false), Some(0), "too few");
    // A request whose answer comes later is two bursts, and chatter is no exchange.
    let two = || [50, 750].into_iter().flat_map(exchange);
    let end =
        |more: [Said; 2]| hint(Table::new(RULES), &[wire(two().chain(more).collect())], &|_| false);
    assert_eq!(end([ask(1450, 200), say(1950, 900)]), Some(0), "a late answer");
    assert_eq!(end([ask(1450, 17), say(1460, 17)]), Some(0), "chatter");
    let mut parts = wires();
    parts[1].said.push(say(1270, 900));
    assert_eq!(hint(Table::new(RULES), &parts, &|_| false), Some(0), "an answer in parts");
    let few = Table { most: 1, ..Table::new(RULES) };
    assert_eq!(hint(few, &[pool(), idle(2)], &|_| false), Some(0), "not all are remembered");
}

#[test]
fn the_hint_does_not_count_the_time_in_which_datagrams_came() {
    let end = |last: i64| {
        let mut table = Table::new(RULES);
        (0..LENGTH / 100).map(|number| number * 100).find_map(|at| {
            table.begin(moment(at));
            let reading = pool().reading(at);
            table.connection(&reading.expect("there"));
            table.datagrams(0, ms((at - last).max(0)));
            let summary = table.end();
            summary.over.then_some((at, summary.sooner.as_millis()))
        })
    };
    assert_eq!(end(1000), Some((5500, 3000)));
    assert_eq!(end(3000), Some((5500, 2000)), "half a second after the last datagram");
    assert_eq!(end(7000), Some((7500, 0)), "the connections were idle long before");
}
