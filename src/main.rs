fn main() {
    println!("{:?}", tch::Tensor::from(1f32));
}
