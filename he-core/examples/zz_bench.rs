//! scratch
#![allow(missing_docs)]
use he_core::*; use std::time::Instant; use he_core::split::*;
fn t(name:&str, mut f: impl FnMut()) { f(); let mut best=f64::MAX; for _ in 0..20 { let s=Instant::now(); for _ in 0..50 {f();} best=best.min(s.elapsed().as_secs_f64()/50.0);} println!("{name}: {:.2} us", best*1e6); }
fn main(){
 let p0=Params::new(Profile::Wide);
 for k in Kernel::available(){ let p=p0.with_kernel(k).unwrap(); let tb=p.table(); println!("{k:?}");
  let mut a=vec![12345u64;2048]; for i in 0..2048 {a[i]=(i as u64*0x9e3779b97f4a7c15)%p.modulus().value();}
  let b=a.clone(); let mut o=a.clone();
  t("fwd",||tb.forward(&mut a)); t("inv",||tb.inverse(&mut a)); t("mul",||tb.mul(&a,&b,&mut o));
  let terms=vec![(&a[..],&b[..]);64]; t("dot64",||tb.dot(&terms,&mut o));
  let e=Epoch::new([1;32]); let mut rng=Seed::from_bytes([1;32]).stream(); let s=ClientSecret::generate(&p,&mut rng); let pka=e.public_key_a(&p,0); let pk=s.public_key(&p,&pka,&mut rng); let h=Hint::new(&p,&[]);
  t("reply",||{masked_reply(&p,&h,&pka,&pk,26,Seed::from_bytes([3;32])).unwrap();});
  let r=masked_reply(&p,&h,&pka,&pk,26,Seed::from_bytes([3;32])).unwrap().0;
  t("open",||{s.open(&p,&r);}); t("mask",||{let _=s.mask(&p,&pka,&mut rng);}); t("public_a",||{e.public_a(&p,0,0);});
  t("reply bytes",||{let b=r.to_bytes(); Reply::from_bytes(&p,26,&b).unwrap();});
 }
 let m=*p0.modulus(); let mut o=vec![0u64;2048]; let mut rng=Seed::from_bytes([1;32]).stream();
 t("tern",||sample::ternary(&mut rng,&m,&mut o)); t("cbd",||sample::centred_binomial(&mut rng,21,&m,&mut o)); t("unif",||sample::uniform(&mut rng,&m,&mut o)); t("dither",||sample::dither(&mut rng,&m,30.0,&mut o).unwrap());
 let mut b=vec![0u8;16384]; t("chacha16k",||rand_core::Rng::fill_bytes(&mut rng,&mut b));
}
