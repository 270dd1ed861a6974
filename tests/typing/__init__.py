"""What a type checker says about the public interface."""
