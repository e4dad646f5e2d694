//! Nanoseconds per element of every step of a gate, on one thread: `cargo test --release -p ss-core gate::tests::speed
//! -- --ignored --nocapture`. Not a check: timings depend on the machine.

use std::time::{Duration, Instant};

use super::*;

#[test]
#[ignore = "a measurement"]
fn steps_of_the_default_gates() {
    const N: usize = 4096;
    const ROUNDS: u32 = 40;
    let mut rng = fresh_rng();
    let (relu, wide) = (Comparison::new(18, 6).unwrap(), Comparison::new(18, 1).unwrap());
    for (name, spec, thresholds) in [
        ("relu", GateSpec::relu(relu, 46, 14).unwrap(), vec![0]),
        ("clip", GateSpec::clip(relu, 46, 14).unwrap(), vec![0, 20_000]),
        ("abs", GateSpec::leaky(relu, 46, 14, -1, 1).unwrap(), vec![0]),
        ("maximum", GateSpec::maximum(relu, None).unwrap(), vec![]),
        ("arg-max, 16 bits", GateSpec::maximum(wide, Some(4)).unwrap(), vec![]),
    ] {
        let case = random_case(&(spec.clone(), thresholds), N, &mut rng);
        let expected = case.expected();
        let mut best = [Duration::MAX; 11];
        for _ in 0..ROUNDS {
            let bits = choices(&spec, &case.client, &mut rng);
            let (server_sends, client_receives) = deal(&mut rng, bits.to_vec());
            let random = (0..N * spec.server_transfers()).map(|_| (rng.next_u32() & 1) as u8).collect();
            let (client_sends, server_receives) = deal(&mut rng, random);
            let constants: Vec<&[u64]> = case.constants.iter().map(|lane| &lane[..]).collect();
            let lanes: Vec<&[u64]> = case.client_lanes.iter().map(|lane| &lane[..]).collect();
            let inputs = ClientInputs { compare: &case.client, lanes: &lanes, constants: &constants };
            let (server, server_lanes) = (case.server.clone(), case.server_lanes.clone());
            let mut step = 0;
            let mut timed = |start: Instant| {
                best[step] = best[step].min(start.elapsed());
                step += 1;
            };
            macro_rules! time {
                ($work:expr) => {{
                    let start = Instant::now();
                    let result = $work;
                    timed(start);
                    result
                }};
            }
            drop(time!(choices(&spec, &case.client, &mut rng)));
            let (message, gate) =
                time!(ClientGate::prepare(&spec, &inputs, client_sends, client_receives, &mut rng).unwrap());
            let waiting = time!(ServerGate::receive(&spec, N, server_receives).unwrap());
            let other = time!(waiting.complete(server_sends, &message).unwrap());
            let (message, other) = time!(other.begin(server, server_lanes).unwrap());
            let (message, gate) = time!(gate.tables(&message).unwrap());
            let (message, other) = time!(other.combine(&message).unwrap());
            let (message, gate) = time!(gate.respond(&message).unwrap());
            let (message, other) = time!(other.select(&message).unwrap());
            let message = time!(gate.finish(&message).unwrap());
            let out = time!(other.finish(&message).unwrap());
            assert_eq!(out, expected);
        }
        let nanoseconds = best.map(|time| time.as_secs_f64() * 1e9 / N as f64);
        let sum = |steps: &[usize]| steps.iter().map(|&step| nanoseconds[step]).sum::<f64>();
        println!(
            "{name}: client offline {:.0} ns, online {:.0} ns; server offline {:.0} ns, online {:.0} ns",
            sum(&[0, 1]),
            sum(&[5, 7, 9]),
            sum(&[2, 3]),
            sum(&[4, 6, 8, 10])
        );
        let names = [
            "choices", "prepare", "receive", "complete", "begin", "tables", "combine", "respond", "select",
            "finish", "results",
        ];
        for (name, time) in names.iter().zip(nanoseconds) {
            print!("  {name} {time:.1}");
        }
        println!();
    }
}
