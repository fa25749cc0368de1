// Nothing here: this target exists to carry the dependency on the product `protoc-gen-swift`.
