//! Polynomial activations in normal form.
//!
//! | polynomial, per channel | becomes |
//! |---|---|
//! | c + b·x | the identity, then scale b and shift c |
//! | c + b·x + a·x² | shift by b/2a, x², then scale a and shift c − b²/4a, if the shift before it can be absorbed |
//! | | x² + (b/a)·x, then scale a and shift c, if not |
//! | Σ c_e·x^e of degree d > 2 | Σ_{0<e} (c_e/c_d)·x^e, then scale c_d and shift c_0 |
//!
//! The shift goes into the linear maps before, the scale into those behind ([`diagonal`](super::diagonal)); a shift in front
//! of zero padding stays where it is, as padding is zero and not shifted. Channels of different kinds become a mixed
//! activation.

use super::activation::spread;
use super::edit::{Edit, channels};
use super::function::{functions, regroup, simplest};
use super::travel::raise;
use crate::error::NnError;
use crate::graph::{Diagonal, Function, Graph, NodeId, Op};

/// A function as scale·f(x + before) + after.
struct Normal {
    function: Function,
    before: f64,
    scale: f64,
    after: f64,
}

/// Normalises the first activation with polynomials that are not.
pub(super) fn polynomials(graph: &Graph) -> Result<Option<Graph>, NnError> {
    normalise(graph, &[true, false])
}

/// Likewise, without shifts that other nodes would have to absorb.
pub(super) fn monic(graph: &Graph) -> Result<Option<Graph>, NnError> {
    normalise(graph, &[false])
}

/// With or without a shift before, whichever of `shifts` is possible first.
fn normalise(graph: &Graph, shifts: &[bool]) -> Result<Option<Graph>, NnError> {
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(count) = channels(&node.shape) else { continue };
        let Some(list) = functions(&node.op, count) else { continue };
        if !list.iter().any(|f| matches!(f, Function::Polynomial { .. })) {
            continue;
        }
        let list = spread(list, count);
        for &shift in shifts {
            let normals: Vec<Normal> = list.iter().map(|function| normal(function, shift)).collect();
            if let Some(next) = rewrite(graph, id, &list, &normals)? {
                return Ok(Some(next));
            }
        }
    }
    Ok(None)
}

fn normal(function: &Function, shift: bool) -> Normal {
    let plain =
        |function: &Function| Normal { function: function.clone(), before: 0.0, scale: 1.0, after: 0.0 };
    let simple = simplest(function);
    let Function::Polynomial { coefficients } = &simple else { return plain(&simple) };
    let Some(row) = coefficients.first() else { return plain(&simple) };
    match row[..] {
        [] => Normal { function: Function::Identity, before: 0.0, scale: 0.0, after: 0.0 },
        [c] => Normal { function: Function::Identity, before: 0.0, scale: 0.0, after: c },
        [c, b] => Normal { function: Function::Identity, before: 0.0, scale: b, after: c },
        [c, b, a] if shift => Normal {
            function: Function::Polynomial { coefficients: vec![vec![0.0, 0.0, 1.0]] },
            before: b / (2.0 * a),
            scale: a,
            after: c - b * b / (4.0 * a),
        },
        [c, .., lead] => {
            let mut monic: Vec<f64> = row.iter().map(|c| c / lead).collect();
            monic[0] = 0.0;
            Normal {
                function: Function::Polynomial { coefficients: vec![monic] },
                before: 0.0,
                scale: lead,
                after: c,
            }
        }
    }
}

/// The graph with these normal forms, or `None` if nothing changes, or if a shift in front finds no place.
fn rewrite(
    graph: &Graph,
    id: NodeId,
    list: &[Function],
    normals: &[Normal],
) -> Result<Option<Graph>, NnError> {
    let node = graph.node(id);
    let scales = normals.iter().any(|n| n.scale != 1.0 || n.after != 0.0);
    let shifts = normals.iter().any(|n| n.before != 0.0);
    if !scales && !shifts && normals.iter().zip(list).all(|(n, f)| n.function == *f) {
        return Ok(None);
    }
    let finite = |n: &Normal| [n.before, n.scale, n.after].iter().all(|v| v.is_finite());
    if !normals.iter().all(finite) {
        return Ok(None);
    }
    let mut changed = graph.clone();
    if shifts {
        let before =
            Diagonal { scale: vec![1.0; normals.len()], shift: normals.iter().map(|n| n.before).collect() };
        let Some(plan) = raise(graph, &graph.consumers(), node.inputs[0], id, &before) else {
            return Ok(None);
        };
        plan.apply(&mut changed);
    }
    let mut edit = Edit::new(&changed);
    let functions: Vec<Function> = normals.iter().map(|n| n.function.clone()).collect();
    edit.set(id, regroup(&functions), &node.inputs);
    if scales {
        let after = Diagonal {
            scale: normals.iter().map(|n| n.scale).collect(),
            shift: normals.iter().map(|n| n.after).collect(),
        };
        let scale = edit.add(format!("{} (scale)", node.name), Op::Scale(after), &[id])?;
        edit.redirect(id, scale, &[scale]);
    }
    edit.finish().map(Some)
}
