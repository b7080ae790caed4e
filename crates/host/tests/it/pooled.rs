//! A pool whose workers die in every way that a parser can: each death costs one request its answer, and no more.

use std::collections::BTreeMap;
use std::time::Duration;

use taintline_host::worker::{Failure, Pool, PoolError};

use crate::confined::{REQUEST_BYTES, pool, pool_with};

const PATIENT: Duration = Duration::from_mins(1);

fn patient() -> Pool {
    pool(2, "confined::worker", PATIENT)
}

/// All outcomes by name; each request has exactly one.
fn outcomes(pool: &mut Pool, requests: &[&[u8]]) -> BTreeMap<u64, Result<Vec<u8>, Failure>> {
    for (id, request) in (0..).zip(requests) {
        pool.submit(id, request.to_vec()).unwrap();
    }
    let mut all = BTreeMap::new();
    while let Some(outcome) = pool.next_outcome() {
        assert!(all.insert(outcome.id, outcome.result).is_none());
    }
    assert_eq!((all.len(), pool.outstanding()), (requests.len(), 0));
    all
}

/// The request between many others, and what becomes of it; the others must all be answered.
fn between_others(request: &str, pool: Pool) -> Failure {
    let mut pool = pool;
    let others: Vec<String> = (0..100).map(|number| format!("plain {number}")).collect();
    let mut requests: Vec<&[u8]> = others.iter().map(String::as_bytes).collect();
    requests.insert(37, request.as_bytes());
    let mut all = outcomes(&mut pool, &requests);
    let failure = all.remove(&37).unwrap().unwrap_err();
    for (id, result) in all {
        assert_eq!(
            result.as_deref(),
            Ok(requests[usize::try_from(id).unwrap()]),
            "{id}"
        );
    }
    failure
}

#[test]
fn every_answer_belongs_to_its_request() {
    let mut pool = pool(2, "confined::worker", PATIENT);
    let requests: Vec<Vec<u8>> = (0..3000_u32)
        .map(|number| vec![number.to_le_bytes()[0] | 0x80; number as usize * 7 % 3000])
        .chain([Vec::new(), vec![0xff; REQUEST_BYTES]])
        .collect();
    let slices: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    for (id, result) in outcomes(&mut pool, &slices) {
        assert_eq!(
            result.as_deref(),
            Ok(slices[usize::try_from(id).unwrap()]),
            "{id}"
        );
    }
}

#[test]
fn an_endless_loop_is_ended_and_costs_one_answer() {
    let quick = pool(2, "confined::worker", Duration::from_millis(300));
    assert_eq!(between_others("spins", quick), Failure::TimedOut);
}

#[test]
fn one_that_waits_for_something_is_ended_by_the_clock_on_the_wall() {
    let quick = pool_with(2, "confined::worker", PATIENT, Duration::from_secs(6));
    assert_eq!(between_others("sleeps", quick), Failure::TimedOut);
}

#[test]
fn one_that_only_waits_uses_up_no_processor_time() {
    let mut pool = pool(1, "confined::worker", Duration::from_millis(100));
    let all = outcomes(&mut pool, &[b"naps"]);
    assert_eq!(all[&0].as_deref(), Ok(b"rested".as_slice()));
}

#[test]
fn a_bomb_runs_out_of_memory_and_costs_one_answer() {
    assert_eq!(between_others("fills", patient()), Failure::OutOfMemory);
}

#[test]
fn a_crash_says_its_signal_and_a_panic_its_code() {
    let aborted = Failure::Crashed { signal: 6 };
    assert_eq!(between_others("aborts", patient()), aborted);
    assert_eq!(
        between_others("panics", patient()),
        Failure::Exited { code: 101 }
    );
    assert_eq!(
        between_others("leaves", patient()),
        Failure::Exited { code: 3 }
    );
}

#[test]
fn an_answer_without_end_is_refused() {
    assert_eq!(between_others("talks", patient()), Failure::Oversized);
}

#[test]
fn what_many_requests_gathered_is_not_blamed_on_the_last() {
    let mut pool = pool(1, "confined::worker", PATIENT);
    for result in outcomes(&mut pool, &[b"gathers".as_slice(); 8]).into_values() {
        assert_eq!(result.as_deref(), Ok(b"gathered".as_slice()));
    }
    assert!(pool.last_words().starts_with(b"memory allocation"));
}

#[test]
fn a_worker_that_complains_without_end_goes_on_working() {
    let mut pool = pool(1, "confined::worker", PATIENT);
    let all = outcomes(&mut pool, &[b"complains", b"plain"]);
    assert!(all.values().all(Result::is_ok), "{all:?}");
}

#[test]
fn where_no_worker_lives_to_greet_every_request_ends_all_the_same() {
    let mut pool = pool(2, "confined::stillborn", PATIENT);
    for _ in 0..2 {
        let all = outcomes(&mut pool, &[b"plain".as_slice(); 100]);
        assert!(all.values().all(|result| *result == Err(Failure::NoWorker)));
    }
}

#[test]
fn a_request_above_the_limit_is_not_taken() {
    let mut pool = pool(1, "confined::worker", PATIENT);
    let (bytes, limit) = (REQUEST_BYTES + 1, REQUEST_BYTES);
    let refused = pool.submit(0, vec![0; bytes]);
    assert_eq!(refused, Err(PoolError::RequestTooLong { bytes, limit }));
    assert_eq!(pool.next_outcome(), None);
}
