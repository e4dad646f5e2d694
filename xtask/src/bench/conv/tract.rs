//! `tract` in f32, one thread, in this process. Only with the feature `tract`: its crates take longer to compile than all of
//! ours.

use anyhow::Result;
use conv_fast::ConvGeometry;

use super::contest::Contestant;

/// Whether it was compiled in.
pub(super) const BUILT: bool = cfg!(feature = "tract");

/// A layer as a contestant.
#[cfg(feature = "tract")]
pub(super) fn contestant(geometry: &ConvGeometry, batch: usize) -> Result<Contestant<'static>> {
    let mut layer = built::Layer::new(geometry, batch)?;
    Ok(Box::new(move |rules| {
        let mut outcome = Ok(());
        let timing = super::contest::turn(rules, &mut || {
            if let Err(error) = layer.run() {
                outcome = Err(error);
            }
        });
        outcome.map(|()| timing)
    }))
}

/// There is none.
#[cfg(not(feature = "tract"))]
pub(super) fn contestant(_: &ConvGeometry, _: usize) -> Result<Contestant<'static>> {
    anyhow::bail!("tract is not built in")
}

#[cfg(feature = "tract")]
mod built {
    use anyhow::Result;
    use conv_fast::ConvGeometry;
    use tract_core::internal::*;
    use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
    use tract_core::ops::nn::DataFormat;

    /// A bias-free convolution, optimised, with an input of its own.
    pub(in super::super) struct Layer {
        state: TypedSimpleState,
        input: TValue,
    }

    impl Layer {
        /// A layer with weights and inputs that mean nothing.
        pub(in super::super) fn new(geometry: &ConvGeometry, batch: usize) -> Result<Self> {
            let s = geometry.shape();
            let size = [s.out_channels, geometry.group_inputs(), s.kernel[0], s.kernel[1]];
            let scale = 1.0 / (geometry.terms() as f32).sqrt();
            let weights: Vec<f32> = (0..geometry.weights_len()).map(|at| scale * (at as f32).sin()).collect();
            let shape = [batch, s.in_channels, s.in_height, s.in_width];
            let values: Vec<f32> = (0..batch * geometry.input_len()).map(|at| (at as f32).cos()).collect();
            let mut model = TypedModel::default();
            let source = model.add_source("input", f32::fact(shape))?;
            let kernel = model.add_const("kernel", Tensor::from_shape(&size, &weights)?)?;
            let bias = model
                .add_const("bias", Tensor::from_shape(&[s.out_channels], &vec![0f32; s.out_channels])?)?;
            let [top, left, bottom, right] = s.padding;
            let convolution = Conv {
                pool_spec: PoolSpec {
                    data_format: DataFormat::NCHW,
                    kernel_shape: tvec!(s.kernel[0], s.kernel[1]),
                    padding: PaddingSpec::Explicit(tvec!(top, left), tvec!(bottom, right)),
                    dilations: Some(tvec!(s.dilation[0], s.dilation[1])),
                    strides: Some(tvec!(s.stride[0], s.stride[1])),
                    input_channels: s.in_channels,
                    output_channels: s.out_channels,
                },
                kernel_fmt: KernelFormat::OIHW,
                group: s.groups,
                q_params: None,
            };
            let output = model.wire_node("convolution", convolution, &[source, kernel, bias])?;
            model.select_output_outlets(&output)?;
            let state = model.into_optimized()?.into_runnable()?.spawn()?;
            Ok(Self { state, input: Tensor::from_shape(&shape, &values)?.into_tvalue() })
        }

        /// One run.
        pub(in super::super) fn run(&mut self) -> Result<TVec<TValue>> {
            self.state.run(tvec!(self.input.clone()))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use conv_fast::{ConvShape, direct_f64};

        #[test]
        fn its_convolution_is_ours() {
            let geometry = ConvGeometry::new(ConvShape {
                in_channels: 4,
                in_height: 9,
                in_width: 7,
                out_channels: 6,
                kernel: [3, 2],
                stride: [2, 1],
                padding: [1, 0, 2, 1],
                dilation: [1, 1],
                groups: 2,
            })
            .unwrap();
            let mut layer = Layer::new(&geometry, 1).unwrap();
            let scale = 1.0 / (geometry.terms() as f32).sqrt();
            let weights: Vec<f64> =
                (0..geometry.weights_len()).map(|at| f64::from(scale * (at as f32).sin())).collect();
            let input: Vec<f64> = (0..geometry.input_len()).map(|at| f64::from((at as f32).cos())).collect();
            let wanted = direct_f64(&geometry, &weights, &input);
            let output = layer.run().unwrap().remove(0).into_tensor();
            let got = output.to_plain_array_view::<f32>().unwrap();
            assert_eq!(got.len(), wanted.len());
            assert!(got.iter().zip(&wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4));
        }
    }
}
