# All images at once, for BuildKit:
#
#   docker buildx bake -f dockerfiles/docker-bake.hcl                     provider local: every CUDA, cpu and wheels
#   docker buildx bake -f dockerfiles/docker-bake.hcl local-cuda12-8      one
#   docker buildx bake -f dockerfiles/docker-bake.hcl github              another provider's (github, azure, gitlab, gitea), or `all`
#   docker buildx bake -f dockerfiles/docker-bake.hcl --print             what would be built
#
# Variables come from the environment. A provider other than local wants its client's version and checksums, such as
# GITHUB_VERSION, GITHUB_SHA256 (amd64) and GITHUB_SHA256_ARM64. DOCKER=yes puts Docker's client into every image.
#
# The rows are those of images.toml (a test holds them together). Every provider's image of a CUDA and an architecture stands
# on the same layers: the stage `agent` is built once for each of the two, and a provider adds its own above it.

variable "REGISTRY" {
  default = "mayfly"
}

variable "FLAVOUR" {
  default = "devel"
}

variable "UID" {
  default = "1000"
}

variable "DOCKER" {
  default = ""
}

variable "PLATFORMS" {
  default = "linux/amd64,linux/arm64"
}

variable "GITHUB_VERSION" {
  default = ""
}

variable "GITHUB_SHA256" {
  default = ""
}

variable "GITHUB_SHA256_ARM64" {
  default = ""
}

variable "AZURE_VERSION" {
  default = ""
}

variable "AZURE_SHA256" {
  default = ""
}

variable "AZURE_SHA256_ARM64" {
  default = ""
}

variable "GITLAB_VERSION" {
  default = ""
}

variable "GITLAB_SHA256" {
  default = ""
}

variable "GITLAB_SHA256_ARM64" {
  default = ""
}

variable "GITEA_VERSION" {
  default = ""
}

variable "GITEA_SHA256" {
  default = ""
}

variable "GITEA_SHA256_ARM64" {
  default = ""
}

variable "ROWS" {
  default = [
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

group "default" {
  targets = concat(["local-cpu", "wheels"], [for row in ROWS : "local-cuda${replace(row.cuda, ".", "-")}"])
}

group "github" {
  targets = concat(["github-cpu"], [for row in ROWS : "github-cuda${replace(row.cuda, ".", "-")}"])
}

group "azure" {
  targets = concat(["azure-cpu"], [for row in ROWS : "azure-cuda${replace(row.cuda, ".", "-")}"])
}

group "gitlab" {
  targets = concat(["gitlab-cpu"], [for row in ROWS : "gitlab-cuda${replace(row.cuda, ".", "-")}"])
}

group "gitea" {
  targets = concat(["gitea-cpu"], [for row in ROWS : "gitea-cuda${replace(row.cuda, ".", "-")}"])
}

group "all" {
  targets = ["default", "github", "azure", "gitlab", "gitea"]
}

target "_agent" {
  context    = "."
  dockerfile = "dockerfiles/Dockerfile"
  platforms  = split(",", PLATFORMS)
  args = {
    UID    = UID
    DOCKER = DOCKER
  }
}

target "_local" {
  inherits = ["_agent"]
  target   = "local"
}

target "_github" {
  inherits = ["_agent"]
  target   = "github"
  args = {
    RUNNER_VERSION      = GITHUB_VERSION
    RUNNER_SHA256       = GITHUB_SHA256
    RUNNER_SHA256_ARM64 = GITHUB_SHA256_ARM64
  }
}

target "_azure" {
  inherits = ["_agent"]
  target   = "azure"
  args = {
    AGENT_VERSION      = AZURE_VERSION
    AGENT_SHA256       = AZURE_SHA256
    AGENT_SHA256_ARM64 = AZURE_SHA256_ARM64
  }
}

target "_gitlab" {
  inherits = ["_agent"]
  target   = "gitlab"
  args = {
    RUNNER_VERSION      = GITLAB_VERSION
    RUNNER_SHA256       = GITLAB_SHA256
    RUNNER_SHA256_ARM64 = GITLAB_SHA256_ARM64
  }
}

target "_gitea" {
  inherits = ["_agent"]
  target   = "gitea"
  args = {
    RUNNER_VERSION      = GITEA_VERSION
    RUNNER_SHA256       = GITEA_SHA256
    RUNNER_SHA256_ARM64 = GITEA_SHA256_ARM64
  }
}

target "cuda" {
  name     = "${provider}-cuda${replace(row.cuda, ".", "-")}"
  inherits = ["_${provider}"]
  matrix = {
    provider = ["local", "github", "azure", "gitlab", "gitea"]
    row      = ROWS
  }
  tags = ["${REGISTRY}/${provider}:cuda${row.cuda}"]
  args = {
    BASE = "docker.io/nvidia/cuda:${row.release}-${FLAVOUR}-${row.os}"
  }
  labels = {
    "io.mayfly.cuda" = row.cuda
  }
}

target "cpu" {
  name     = "${provider}-cpu"
  inherits = ["_${provider}"]
  matrix = {
    provider = ["local", "github", "azure", "gitlab", "gitea"]
  }
  tags = ["${REGISTRY}/${provider}:cpu"]
}

target "wheels" {
  inherits = ["_agent"]
  target   = "local-wheels"
  tags     = ["${REGISTRY}/local:wheels"]
}
