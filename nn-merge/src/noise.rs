//! What the client knows of the noise in every linear layer, and the dither that hides it.
//!
//! In units of Z_q. Outputs that share a polynomial share its errors, so ‖w‖ is the Euclidean norm of the weights of as
//! many outputs as share one, the largest of the layer:
//!
//! | figure | formula |
//! |---|---|
//! | what the client knows of the noise, standard deviation | ‖w‖·sqrt(η/2 + ((q/2^p)² + 1)/12): its own errors through the weights, and what it rounds off (two primes: nothing but a unit) |
//! | the server's dither, standard deviation | a quarter unit of Z_2^k, from [`dither_log2_sigma`] |
//! | ratio | dither / known |
//! | queries | ratio²: how many answers average the dither away |
//! | statistical distance (`exact`) | of one output with the client's part, taken six standard deviations large, from one without: at most 1.25/ratio per six |
//!
//! The dither is a sum of four uniform numbers, whose density is smooth: shifted by d, its distance from itself is at most
//! 1.16·d/(2·width), width the half-width of each, that is below d/deviation. The number of queries is a stated figure for the
//! known regression attack, not a proof; the distance is one, for the noise.

use he_core::Params;

use crate::error::NnError;
use crate::fixed_point::{dither_log2_sigma, result_bits};
use crate::model::{Model, NodeWeights, OpSpec, limits};

/// Variance of one error coefficient, centred binomial with η = 21.
const ERROR_VARIANCE: f64 = 21.0 / 2.0;
/// Standard deviations of the client's part that its size is taken to be: beyond with probability below 2^-28 per output.
const TAIL: f64 = 6.0;

/// The noise of one linear node's outputs, in units of Z_q.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct NodeNoise {
    /// Index in the manifest.
    pub node: u32,
    /// Name.
    pub name: String,
    /// k of the finest result that is made of it.
    pub result_bits: u32,
    /// Standard deviation of what the client knows.
    pub known: f64,
    /// Standard deviation of the server's dither.
    pub dither: f64,
    /// dither / known.
    pub ratio: f64,
    /// log2 of ratio².
    pub log2_queries: f64,
    /// log2 of the statistical distance of one output from one that does not depend on the client's part of the noise.
    pub log2_distance: f64,
}

/// The noise of every linear node, with the output's ring of `output_bits` bits (`None`: as in the manifest). `sharing` says
/// how many outputs of a node (by its index) share a polynomial; 1 where none do.
///
/// # Errors
/// [`NnError::Manifest`] for an invalid manifest.
pub fn noise_report(
    model: &Model,
    output_bits: Option<u32>,
    sharing: impl Fn(usize) -> usize,
) -> Result<Vec<NodeNoise>, NnError> {
    model.manifest.validate()?;
    let params = Params::new(model.manifest.profile);
    let step =
        limits(model.manifest.profile).masked_bits.map_or(0.0, |p| (params.log2_q() - f64::from(p)).exp2());
    let bits = result_bits(&model.manifest, output_bits);
    let nodes = model.manifest.nodes.iter().zip(&model.nodes).enumerate();
    Ok(nodes
        .filter_map(|(index, (spec, own))| {
            let OpSpec::Linear { geometry, .. } = &spec.op else { return None };
            let row = geometry.terms().max(1);
            let known = known_deviation(largest_norm(own, row, sharing(index)), step);
            let dither = dither_log2_sigma(&params, bits[index]).exp2();
            // A layer without weights leaks nothing; it must not divide by zero.
            let ratio = dither / known.max(f64::MIN_POSITIVE);
            Some(NodeNoise {
                node: index as u32,
                name: spec.name.clone(),
                result_bits: bits[index],
                known,
                dither,
                ratio,
                log2_queries: 2.0 * ratio.log2(),
                log2_distance: (TAIL / ratio).log2().min(0.0),
            })
        })
        .collect())
}

/// The least ratio of all layers; infinite where there is none.
pub fn least_ratio(noise: &[NodeNoise]) -> f64 {
    noise.iter().map(|layer| layer.ratio).fold(f64::INFINITY, f64::min)
}

fn known_deviation(norm: f64, step: f64) -> f64 {
    norm * (ERROR_VARIANCE + (step * step + 1.0) / 12.0).sqrt()
}

/// Largest Euclidean norm of the weights of `sharing` outputs together, `row` weights each.
fn largest_norm(own: &NodeWeights, row: usize, sharing: usize) -> f64 {
    let square = |weights: &[i32]| weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>();
    let mut squares: Vec<f64> = own.weights.chunks(row).map(square).collect();
    squares.sort_by(|a, b| b.total_cmp(a));
    squares.iter().take(sharing.max(1)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_core::Profile;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn the_figures_of_a_wide_layer() {
        // q just under 2^50, p = 46: a step of 16 units; 400 weights of 12 bits.
        let norm = 20.0 * 2048.0;
        let known = known_deviation(norm, 16.0);
        assert!((known / norm - (10.5f64 + 257.0 / 12.0).sqrt()).abs() < 1e-3);
        let dither = dither_log2_sigma(&Params::new(Profile::Wide), 18);
        assert!((dither - 30.0).abs() < 1e-6);
        // The protocol document: some 2^14 times, hence 2^28 queries.
        let ratio = dither - known.log2();
        assert!((11.0..16.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn finer_profiles_hide_more() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let graph = crate::zoo::lenet(&mut rng).expect("fixed shapes");
        let least: Vec<f64> = Profile::ALL
            .iter()
            .map(|&profile| {
                let options = crate::BuildOptions::new(profile, "lenet");
                let (model, _) = crate::build(&graph, &[], &options, &mut rng).expect("builds");
                let noise = noise_report(&model, None, |_| 1).expect("valid");
                println!("{profile}: {noise:?}");
                least_ratio(&noise)
            })
            .collect();
        assert!(least.windows(2).all(|pair| pair[0] < pair[1]), "{least:?}");
        assert!(least[2].log2() > 8.0 && least[3].log2() > 40.0, "{least:?}");
    }
}
