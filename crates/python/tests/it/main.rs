//! What holds without an interpreter: the queue of frames. The rest is tested from Python in `python/tests`.

#[path = "../../src/queue.rs"]
mod queue;

#[cfg(test)]
mod frames {
    use crate::queue::{QUEUE_BYTES_MAX, Queue};
    use domain::sensor::{Envelope, FRAME_BYTES_MAX, Message};

    const BODY: &str = r#"{"type":"gap","what":"a","why":"b"}"#;

    /// Takes everything out of `queue`, `portion` bytes at a time, and reads the frames.
    fn frames(queue: &mut Queue, portion: usize) -> Vec<Envelope> {
        let mut bytes = Vec::new();
        let outcome: Result<(), ()> = queue.drain(|offered| {
            let taken = offered.len().min(portion);
            bytes.extend_from_slice(&offered[..taken]);
            Ok(taken)
        });
        outcome.unwrap();
        let mut rest = &bytes[..];
        let mut envelopes = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (frame, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            envelopes.push(serde_json::from_slice(frame).unwrap());
            rest = tail;
        }
        envelopes
    }

    #[test]
    fn frames_survive_a_socket_that_takes_one_byte_at_a_time() {
        let mut queue = Queue::default();
        assert!(queue.push(5, BODY) && queue.push(6, BODY));
        let envelopes = frames(&mut queue, 1);
        let gap = Message::Gap {
            what: "a".into(),
            why: "b".into(),
        };
        assert_eq!(
            envelopes[0],
            Envelope {
                seq: 0,
                at_us: 5,
                body: gap.clone()
            }
        );
        assert_eq!(
            envelopes[1],
            Envelope {
                seq: 1,
                at_us: 6,
                body: gap
            }
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_dropped_whole_and_leaves_a_hole_in_the_count() {
        let mut queue = Queue::default();
        let large = format!(
            r#"{{"type":"gap","what":"a","why":"{}"}}"#,
            "x".repeat(1_000_000)
        );
        let fitting = QUEUE_BYTES_MAX / large.len();
        for _ in 0..fitting {
            assert!(queue.push(0, &large));
        }
        assert!(!queue.push(0, &large));
        assert_eq!(queue.dropped(), 1);
        assert_eq!(frames(&mut queue, usize::MAX).len(), fitting);
        assert!(queue.push(0, BODY));
        assert_eq!(frames(&mut queue, usize::MAX)[0].seq, fitting as u64 + 1);
    }

    #[test]
    fn a_frame_longer_than_the_protocol_allows_is_dropped() {
        let mut queue = Queue::default();
        assert!(!queue.push(0, &"x".repeat(FRAME_BYTES_MAX as usize)));
        assert!(queue.is_empty());
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_closed_socket_ends_the_sending_and_can_be_forgotten() {
        let mut queue = Queue::default();
        queue.push(0, BODY);
        assert_eq!(queue.drain(|_| Err("closed")), Err("closed"));
        assert!(!queue.is_empty());
        queue.clear();
        assert!(queue.is_empty());
    }
}
