//! A node's attributes by name, with defaults and typed errors.

use rten_onnx::onnx::{AttributeProto, NodeProto, TensorProto};

use crate::error::{NnError, shown};

/// One node of the file with its name settled.
pub(super) struct View<'p> {
    pub(super) proto: &'p NodeProto,
    pub(super) name: String,
    pub(super) operator: &'p str,
}

impl<'p> View<'p> {
    /// Names the node: its own name, else its first output, else its position.
    pub(super) fn new(proto: &'p NodeProto, index: usize) -> Self {
        let own = proto.name.as_deref().filter(|n| !n.is_empty());
        let output = proto.output.iter().map(String::as_str).find(|n| !n.is_empty());
        let name = own.or(output).map_or_else(|| format!("#{index}"), shown);
        Self { proto, name, operator: proto.op_type.as_deref().unwrap_or_default() }
    }

    fn find(&self, name: &str) -> Option<&'p AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        // Zero may be left out of the encoding: a present attribute without a number is 0, not the default.
        self.find(name).map_or(default, |a| a.i.unwrap_or(0))
    }

    pub(super) fn float(&self, name: &str, default: f64) -> Result<f64, NnError> {
        let value = self.find(name).map_or(default, |a| f64::from(a.f.unwrap_or(0.0)));
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.unsupported(format!("attribute {name} is not finite")))
        }
    }

    /// A number that need not be finite.
    pub(super) fn raw_float(&self, name: &str) -> Option<f64> {
        self.find(name).map(|a| f64::from(a.f.unwrap_or(0.0)))
    }

    pub(super) fn floats(&self, name: &str) -> Option<Vec<f64>> {
        self.find(name).map(|a| a.floats.iter().map(|&v| f64::from(v)).collect())
    }

    pub(super) fn string(&self, name: &str) -> Option<&'p str> {
        self.find(name).and_then(|a| a.s.as_deref())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'p TensorProto> {
        self.find(name).and_then(|a| a.t.as_ref())
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'p [i64]> {
        self.find(name).map(|a| a.ints.as_slice())
    }

    /// A list of exactly `N` sizes, each at least `least`.
    pub(super) fn sizes<const N: usize>(
        &self,
        name: &str,
        least: i64,
        default: usize,
    ) -> Result<[usize; N], NnError> {
        let Some(values) = self.ints(name) else { return Ok([default; N]) };
        let mut out = [0; N];
        if values.len() != N {
            return Err(self.unsupported(format!(
                "attribute {name} has {} entries, wanted {N} (only maps over one or two axes are supported)",
                values.len()
            )));
        }
        for (slot, &value) in out.iter_mut().zip(values) {
            *slot = usize::try_from(value)
                .ok()
                .filter(|_| value >= least && value <= 1 << 16)
                .ok_or_else(|| self.unsupported(format!("attribute {name} has the entry {value}")))?;
        }
        Ok(out)
    }

    /// Two sizes for rows and columns; where the file has one axis only, the rows get `default`.
    pub(super) fn plane(
        &self,
        name: &str,
        axes: usize,
        least: i64,
        default: usize,
    ) -> Result<[usize; 2], NnError> {
        match axes {
            1 => self.sizes::<1>(name, least, default).map(|[column]| [default, column]),
            _ => self.sizes::<2>(name, least, default),
        }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>) -> NnError {
        NnError::Unsupported { node: format!("{} ({})", self.name, shown(self.operator)), what: what.into() }
    }

    pub(super) fn shape(&self, what: impl Into<String>) -> NnError {
        NnError::Shape { node: format!("{} ({})", self.name, shown(self.operator)), what: what.into() }
    }
}
