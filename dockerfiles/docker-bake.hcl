# All images at once, for BuildKit:
#
#   docker buildx bake -f dockerfiles/docker-bake.hcl                     all CUDA versions, amd64 and arm64
#   docker buildx bake -f dockerfiles/docker-bake.hcl local-cuda12-8      one
#   docker buildx bake -f dockerfiles/docker-bake.hcl --print             what would be built
#
# The rows are those of images.toml (a test holds them together). The layers above a base are the same for every provider of
# it: the stage `agent` is built once a base and architecture.

variable "REGISTRY" {
  default = "mayfly"
}

variable "FLAVOUR" {
  default = "devel"
}

variable "UID" {
  default = "1000"
}

variable "PLATFORMS" {
  default = ["linux/amd64", "linux/arm64"]
}

group "default" {
  targets = ["cuda", "cpu", "wheels"]
}

target "_agent" {
  context    = "."
  dockerfile = "dockerfiles/Dockerfile"
  platforms  = PLATFORMS
  args = {
    UID = UID
  }
}

target "cuda" {
  name     = "${provider}-cuda${replace(row.cuda, ".", "-")}"
  inherits = ["_agent"]
  matrix = {
    provider = ["local"]
    row = [
      { cuda = "13.4", release = "13.4.2", os = "ubuntu24.04" },
      { cuda = "13.3", release = "13.3.1", os = "ubuntu24.04" },
      { cuda = "13.2", release = "13.2.1", os = "ubuntu24.04" },
      { cuda = "13.1", release = "13.1.2", os = "ubuntu24.04" },
      { cuda = "13.0", release = "13.0.3", os = "ubuntu24.04" },
      { cuda = "12.9", release = "12.9.2", os = "ubuntu24.04" },
      { cuda = "12.8", release = "12.8.1", os = "ubuntu24.04" },
      { cuda = "12.6", release = "12.6.3", os = "ubuntu24.04" },
      { cuda = "12.4", release = "12.4.1", os = "ubuntu22.04" },
      { cuda = "12.2", release = "12.2.2", os = "ubuntu22.04" },
      { cuda = "11.8", release = "11.8.0", os = "ubuntu22.04" },
    ]
  }
  target = provider
  tags   = ["${REGISTRY}/${provider}:cuda${row.cuda}"]
  args = {
    BASE = "docker.io/nvidia/cuda:${row.release}-${FLAVOUR}-${row.os}"
  }
  labels = {
    "io.mayfly.cuda" = row.cuda
  }
}

target "cpu" {
  name     = "${provider}-cpu"
  inherits = ["_agent"]
  matrix = {
    provider = ["local"]
  }
  target = provider
  tags   = ["${REGISTRY}/${provider}:cpu"]
}

target "wheels" {
  inherits = ["_agent"]
  target   = "local-wheels"
  tags     = ["${REGISTRY}/local:wheels"]
}
