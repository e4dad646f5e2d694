//! Which elements of a masked tensor have which units.
//!
//! A class is a part of an activation (or the input) and a factor on what its integers are worth. Most tensors have one class;
//! joins, mixed activations and scales per channel make more.

use crate::error::NnError;
use crate::lower::{ProgramNode, ProgramOp};
use crate::model::LocalOp;

/// Elements whose integers are worth `factor` times what part `part` of node `producer` gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Class {
    pub(super) producer: usize,
    pub(super) part: usize,
    pub(super) factor: f64,
}

/// The classes of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) classes: Vec<Class>,
    /// Class of every element; none where there is one class.
    each: Option<Vec<u32>>,
}

/// Stands for an element that is zero, before it is given a class.
const NONE: u32 = u32::MAX;

impl Layout {
    fn one(class: Class) -> Self {
        Self { classes: vec![class], each: None }
    }

    /// Of classes per element; equal ones are joined, and unused ones dropped.
    fn of(elements: Vec<u32>, classes: &[Class], plane: usize) -> Self {
        let mut kept: Vec<Class> = Vec::new();
        let mut number = vec![NONE; classes.len()];
        let mut each: Vec<u32> = elements
            .into_iter()
            .map(|class| {
                if class == NONE {
                    return NONE;
                }
                let slot = &mut number[class as usize];
                if *slot == NONE {
                    let class = classes[class as usize];
                    *slot = kept.iter().position(|k| *k == class).unwrap_or_else(|| {
                        kept.push(class);
                        kept.len() - 1
                    }) as u32;
                }
                *slot
            })
            .collect();
        // A zero is zero in any units: in those of its channel, so that channels stay uniform.
        for channel in each.chunks_mut(plane.max(1)) {
            let own = channel.iter().copied().find(|&class| class != NONE).unwrap_or(0);
            channel.iter_mut().filter(|class| **class == NONE).for_each(|class| *class = own);
        }
        if kept.is_empty() {
            kept.extend(classes.first());
        }
        let each = (kept.len() > 1).then_some(each);
        Self { classes: kept, each }
    }

    fn at(&self, element: usize) -> u32 {
        self.each.as_ref().map_or(0, |each| each[element])
    }

    /// The class of each run of `plane` elements, `runs` runs; the error is a clause.
    pub(super) fn channels(&self, runs: usize, plane: usize) -> Result<Vec<u32>, String> {
        let Some(each) = &self.each else { return Ok(vec![0; runs]) };
        let mut out = Vec::with_capacity(runs);
        for (channel, run) in each.chunks(plane).enumerate() {
            if run.iter().any(|class| *class != run[0]) {
                return Err(format!(
                    "channel {channel} of its input has different units at different pixels"
                ));
            }
            out.push(run[0]);
        }
        Ok(out)
    }
}

/// The layout of every masked node; none of raw ones.
pub(super) fn layouts(nodes: &[ProgramNode]) -> Result<Vec<Option<Layout>>, NnError> {
    let mut out: Vec<Option<Layout>> = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        let layout = if node.masked { Some(layout(nodes, at, node, &out)?) } else { None };
        out.push(layout);
    }
    Ok(out)
}

/// Whether each of `channels` channels of a masked node has one class.
pub(crate) fn uniform_channels(nodes: &[ProgramNode], at: usize, channels: usize) -> bool {
    let plane = nodes[at].shape.iter().product::<usize>() / channels.max(1);
    match layouts(&nodes[..=at]).map(|mut all| all.pop()) {
        Ok(Some(Some(layout))) => layout.channels(channels, plane).is_ok(),
        _ => false,
    }
}

fn layout(
    nodes: &[ProgramNode],
    at: usize,
    node: &ProgramNode,
    before: &[Option<Layout>],
) -> Result<Layout, NnError> {
    let plane = node.shape[1] * node.shape[2];
    let broken = |what: &str| NnError::private(&node.name, what);
    let source = |index: usize| {
        let layout = node.inputs.get(index).and_then(|&input| before[input].as_ref());
        layout.ok_or_else(|| broken("it mixes masked and raw tensors"))
    };
    Ok(match &node.op {
        ProgramOp::Linear(_) | ProgramOp::Sum | ProgramOp::Shift(_) => {
            return Err(broken("its result is not masked"));
        }
        ProgramOp::Input => Layout::one(Class { producer: at, part: 0, factor: 1.0 }),
        ProgramOp::Activation(activation) => {
            let factor = |c: usize| activation.factor[if activation.factor.len() == 1 { 0 } else { c }];
            if activation.parts.len() == 1 && activation.factor.len() == 1 {
                return Ok(Layout::one(Class { producer: at, part: 0, factor: factor(0) }));
            }
            let mut part_of = vec![0; node.shape[0]];
            for (part, own) in activation.parts.iter().enumerate() {
                for &(first, count) in &own.channels {
                    part_of[first as usize..(first + count) as usize].fill(part);
                }
            }
            let classes: Vec<Class> = (0..node.shape[0])
                .map(|c| Class { producer: at, part: part_of[c], factor: factor(c) })
                .collect();
            Layout::of((0..node.shape[0] * plane).map(|e| (e / plane) as u32).collect(), &classes, plane)
        }
        ProgramOp::Scale(factors) => {
            let source = source(0)?;
            if let [factor] = factors[..] {
                let scaled = source.classes.iter().map(|c| Class { factor: c.factor * factor, ..*c });
                return Ok(Layout { classes: scaled.collect(), each: source.each.clone() });
            }
            let count = source.classes.len();
            let classes: Vec<Class> = factors
                .iter()
                .flat_map(|f| source.classes.iter().map(move |c| Class { factor: c.factor * f, ..*c }))
                .collect();
            let elements =
                (0..factors.len() * plane).map(|e| (e / plane * count) as u32 + source.at(e)).collect();
            Layout::of(elements, &classes, plane)
        }
        ProgramOp::Local(LocalOp::Concat) => {
            let (mut classes, mut elements) = (Vec::new(), Vec::new());
            for (index, &input) in node.inputs.iter().enumerate() {
                let source = source(index)?;
                let length: usize = nodes[input].shape.iter().product();
                elements.extend((0..length).map(|e| classes.len() as u32 + source.at(e)));
                classes.extend_from_slice(&source.classes);
            }
            Layout::of(elements, &classes, plane)
        }
        ProgramOp::Local(op) => {
            let source = source(0)?;
            if source.each.is_none() {
                return Ok(source.clone());
            }
            let map = op.index_map(&[nodes[node.inputs[0]].shape]);
            let elements = (0..map.len())
                .map(|e| match *map.sources(e) {
                    [] => Ok(NONE),
                    [first, ref rest @ ..] => {
                        let class = source.at(first as usize);
                        match rest.iter().all(|&other| source.at(other as usize) == class) {
                            true => Ok(class),
                            false => Err(broken("it adds elements of different units")),
                        }
                    }
                })
                .collect::<Result<Vec<u32>, NnError>>()?;
            Layout::of(elements, &source.classes, plane)
        }
    })
}
