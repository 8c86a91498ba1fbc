"""What a probe learned: class weights, and how they relate."""
