#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# version.sh VERSION: as dpkg sorts it. A pre-release (0.2.0-rc.1) comes before its release: 0.2.0~rc.1; what follows a + comes after it.
echo "$1" | sed 's/-/~/; s/-/./g'
