//! What is told of ranks that agree, part, or never were replicas.

use domain::Fingerprint;

use super::*;

fn told(weights: u128) -> Told {
    Told {
        parameters: Some(Fingerprint::from_bits(weights)),
        ..Told::default()
    }
}

/// All ranks tell `step`, each with its own weights.
fn round(replicas: &mut Replicas, step: u64, weights: &[u128]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (rank, weights) in (0u32..).zip(weights) {
        verdicts.extend(replicas.tell(rank, step, told(*weights)));
    }
    verdicts
}

fn parted(verdicts: &[Verdict]) -> &Parted {
    match verdicts {
        [Verdict::Parted(parted)] => parted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn replicas_that_part_are_told_at_once_with_the_minority() {
    let mut replicas = Replicas::new(3);
    for step in 1..=4 {
        assert_eq!(round(&mut replicas, step, &[u128::from(step); 3]), []);
    }
    let verdicts = round(&mut replicas, 5, &[5, 99, 5]);
    let parted = parted(&verdicts);
    assert_eq!((parted.step, parted.agreed), (5, Some(4)));
    assert_eq!(parted.minority(), [1]);
}

#[test]
fn of_two_both_are_named() {
    let mut replicas = Replicas::new(2);
    for step in 1..=2 {
        assert_eq!(round(&mut replicas, step, &[u128::from(step); 2]), []);
    }
    assert_eq!(parted(&round(&mut replicas, 3, &[7, 8])).minority(), [0, 1]);
}

#[test]
fn ranks_that_never_agreed_are_not_judged_and_that_is_said_once() {
    let mut replicas = Replicas::new(2);
    let verdicts: Vec<_> = (1..=40)
        .flat_map(|step| {
            round(
                &mut replicas,
                step,
                &[u128::from(step), 1000 + u128::from(step)],
            )
        })
        .collect();
    assert_eq!(verdicts, [Verdict::NoReplicas]);
}

#[test]
fn ranks_that_come_together_now_and_then_are_no_replicas() {
    for period in [2, 4, 7] {
        let mut replicas = Replicas::new(2);
        let verdicts: Vec<_> = (1..=60u64)
            .flat_map(|step| {
                let apart = u128::from(step % period != 0);
                round(
                    &mut replicas,
                    step,
                    &[u128::from(step), u128::from(step) + 1000 * apart],
                )
            })
            .collect();
        assert_eq!(verdicts, [Verdict::NoReplicas], "every {period}");
    }
}

#[test]
fn weights_that_do_not_move_are_no_habit() {
    let mut replicas = Replicas::new(2);
    for step in 1..=5 {
        assert_eq!(round(&mut replicas, step, &[1, 1]), []);
    }
    assert_eq!(round(&mut replicas, 6, &[2, 3]), []);
}

#[test]
fn pairs_of_replicas_in_a_larger_world_are_known() {
    let mut replicas = Replicas::new(4);
    for step in 1..=3u128 {
        let weights = [step, 100 + step, step, 100 + step];
        assert_eq!(
            round(&mut replicas, u64::try_from(step).unwrap(), &weights),
            []
        );
    }
    assert_eq!(
        parted(&round(&mut replicas, 4, &[4, 104, 4, 105])).minority(),
        [1, 3]
    );
}

#[test]
fn by_construction_the_first_step_counts() {
    let mut replicas = Replicas::new(2);
    let whole = |weights| Told {
        held: Some(1),
        ..told(weights)
    };
    assert_eq!(replicas.tell(0, 1, whole(1)), []);
    let verdicts = replicas.tell(1, 1, whole(2));
    assert_eq!(parted(&verdicts).step, 1);
    let mut shared_out = Replicas::new(2);
    for rank in 0..2 {
        let other = Told {
            held: Some(rank),
            ..told(rank.into())
        };
        assert_eq!(shared_out.tell(rank, 1, other), []);
    }
}

#[test]
fn who_may_part_is_not_judged() {
    let mut replicas = Replicas::new(2);
    let apart = |weights| Told {
        apart: true,
        ..told(weights)
    };
    let mut verdicts = Vec::new();
    for step in 1..5 {
        verdicts.extend(replicas.tell(0, step, apart(1)));
        verdicts.extend(replicas.tell(1, step, apart(2)));
    }
    assert_eq!(verdicts, [Verdict::MayPart]);
}

#[test]
fn a_rank_that_is_far_behind_or_told_digests_elsewhere_holds_nothing_up() {
    let mut replicas = Replicas::new(3);
    for step in 1..=2 {
        assert_eq!(round(&mut replicas, step, &[u128::from(step); 3]), []);
    }
    let mut verdicts = Vec::new();
    for step in 3..1000 {
        let own = u128::from(step == 500);
        verdicts.extend(replicas.tell(0, step, told(u128::from(step))));
        verdicts.extend(replicas.tell(1, step, told(u128::from(step) + own * 7)));
    }
    assert!(replicas.waiting.len() <= WAITING_MAX);
    assert_eq!(parted(&verdicts).step, 500);
    assert_eq!(replicas.finish(), []);
}

#[test]
fn state_binds_where_it_was_equal() {
    let with = |weights: u64, state: u128| Told {
        state: Some(Fingerprint::from_bits(state)),
        ..told(u128::from(weights))
    };
    let mut own = Replicas::new(2);
    let mut same = Replicas::new(2);
    for step in 1..8u64 {
        for rank in 0..2 {
            let state = u128::from(step) * 10 + u128::from(rank);
            assert_eq!(own.tell(rank, step, with(step, state)), []);
            assert_eq!(same.tell(rank, step, with(step, u128::from(step))), []);
        }
    }
    same.tell(0, 8, with(8, 8));
    let verdicts = same.tell(1, 8, with(8, 9));
    assert_eq!(parted(&verdicts).what, What::State);
}

#[test]
fn the_tensors_that_differ_are_named() {
    for (tensors, runs) in [(5usize, false), (200, true)] {
        let parts = |odd: Option<usize>| {
            let buffers: Vec<Vec<u8>> = (0..tensors)
                .map(|index| vec![u8::from(odd == Some(index)); 40])
                .collect();
            let text = parts_of(buffers.iter().map(|buffer| &buffer[..]));
            (u32::try_from(tensors).unwrap(), text)
        };
        let mut replicas = Replicas::new(2);
        for step in 1..=2 {
            assert_eq!(round(&mut replicas, step, &[u128::from(step); 2]), []);
        }
        let with = |weights, odd| Told {
            parts: parts(odd),
            ..told(weights)
        };
        replicas.tell(0, 3, with(3, None));
        let verdicts = replicas.tell(1, 3, with(4, Some(3)));
        let found = parted(&verdicts);
        assert!(
            found.tensors.0.contains(&3) && found.tensors.1 <= 4,
            "{found:?}"
        );
        assert_eq!(found.runs, runs);
        assert!(parts(None).1.len() <= 344);
    }
}

#[test]
fn batches_that_become_the_same_are_told_and_small_sets_are_not() {
    let with = |batches: u64| Told {
        batches: Some(u128::from(batches)),
        ..Told::default()
    };
    let mut replicas = Replicas::new(2);
    let mut found = Vec::new();
    for step in 1..=30u64 {
        found.extend(replicas.tell(0, step, with(step * 2)));
        found.extend(replicas.tell(1, step, with(step * 2 + u64::from(step < 20))));
    }
    let first = Shared {
        since: 20,
        step: 22,
        ranks: (0, 1),
    };
    assert_eq!(found.first(), Some(&Verdict::SameBatches(first)));
    let mut few = Replicas::new(2);
    for step in 1..=300u64 {
        assert_eq!(few.tell(0, step, with(step * 7 % 10)), []);
        assert_eq!(few.tell(1, step, with(step * 3 % 11)), []);
    }
    let mut alike = Replicas::new(2);
    for step in 1..=30u64 {
        assert_eq!(alike.tell(0, step, with(step)), []);
        assert_eq!(alike.tell(1, step, with(step)), []);
    }
}

#[test]
fn numbers_that_begin_anew_are_judged_on() {
    let mut replicas = Replicas::new(2);
    for again in 0..3u128 {
        for step in 1..=4 {
            let weights = again * 10 + u128::from(step);
            assert_eq!(round(&mut replicas, step, &[weights; 2]), []);
        }
    }
    assert_eq!(parted(&round(&mut replicas, 1, &[50, 51])).step, 1);
}
