"""The images of the Dockerfile, built on a machine that has no container engine and reaches no registry.

buildah and mmdebstrap come from the distribution. Each image is named by a hash of what goes into it, so an
unchanged one is not built again and Kubernetes sees every change.
"""
