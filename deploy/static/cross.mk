# SPDX-License-Identifier: Apache-2.0
# Builds for another architecture: Debian's cross compiler, and Debian's packages of that architecture in a directory of their own
# (sysroot.sh). Included where ARCH is not the machine's.
TRIPLET := $(patsubst arm64,aarch64,$(patsubst amd64,x86_64,$(ARCH)))-linux-gnu
CC := $(TRIPLET)-gcc
AR := $(TRIPLET)-ar
export STRIP := $(TRIPLET)-strip
CROSS := -$(ARCH)
SYSROOT := build/sysroot$(CROSS)
SYSROOT_READY := $(SYSROOT)/packages
SYSROOT_FLAG := --sysroot=$(CURDIR)/$(SYSROOT)
# libgcc and libstdc++ of the sysroot's Debian, as everything else, before the cross compiler's own. What is linked dynamically is for
# tests (tests/image/arm64.sh): it finds its libraries in the sysroot.
CROSS_LDFLAGS = $(SYSROOT_FLAG) $(patsubst %,-L%,$(wildcard $(SYSROOT)/usr/lib/gcc/$(TRIPLET)/*)) \
                $(if $(filter dynamic,$(LINK)),-Wl$(comma)--disable-new-dtags -Wl$(comma)-rpath$(comma)$(CURDIR)/$(SYSROOT)/usr/lib/$(TRIPLET) \
                -Wl$(comma)--dynamic-linker=$(CURDIR)/$(SYSROOT)/usr/lib/ld-linux-$(firstword $(subst -, ,$(TRIPLET))).so.1)
export PKG_CONFIG_LIBDIR := $(CURDIR)/$(SYSROOT)/usr/lib/$(TRIPLET)/pkgconfig:$(CURDIR)/$(SYSROOT)/usr/share/pkgconfig
SYSROOT_PACKAGES = $(filter %-dev,$(PACKAGES)) libc6-dev libstdc++-12-dev
PACKAGES_cross := gcc-$(subst _,-,$(TRIPLET))
$(SYSROOT_READY): deploy/static/sysroot.sh
	@deploy/static/sysroot.sh $(ARCH) $(SYSROOT) $(SYSROOT_PACKAGES)
