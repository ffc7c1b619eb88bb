// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	tableBegin = "<!-- values: written by make chart-docs -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

// valuesTable is a line for each value of values.yaml that a comment "# -- ..." describes.
func valuesTable(t *testing.T) string {
	t.Helper()
	var tree yaml.Node
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.yaml")), &tree); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| value | type | default | meaning |\n|---|---|---|---|\n")
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			path := prefix + key.Value
			text, described := strings.CutPrefix(key.HeadComment, "# -- ")
			switch {
			case described:
				if strings.Contains(text, "\n") {
					t.Errorf("%s: its description has several lines", path)
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", path, kind(value), byDefault(value), strings.ReplaceAll(text, "|", `\|`))
			case value.Kind == yaml.MappingNode:
				walk(path+".", value)
			default:
				t.Errorf("%s has no description", path)
			}
		}
	}
	walk("", tree.Content[0])
	return b.String()
}

func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "mapping"
	case n.Kind == yaml.SequenceNode:
		return "list"
	case n.Tag == "!!bool":
		return "`true`, `false`"
	case n.Tag == "!!int":
		return "number"
	}
	return "text"
}

func byDefault(n *yaml.Node) string {
	if len(n.Content) == 0 && n.Value == "" {
		return ""
	}
	plain := *n
	plain.HeadComment = ""
	var flow func(n *yaml.Node)
	flow = func(n *yaml.Node) {
		n.Style = yaml.FlowStyle
		for _, c := range n.Content {
			if len(c.Content) > 0 {
				flow(c)
			}
		}
	}
	if len(n.Content) > 0 {
		flow(&plain)
	}
	text, _ := yaml.Marshal(&plain)
	return "`" + regexp.MustCompile(`\s+`).ReplaceAllString(strings.TrimSpace(string(text)), " ") + "`"
}

func TestTheReadmeHasATableOfTheValues(t *testing.T) {
	path := chartDir + "/README.md"
	page := read(t, path)
	before, rest, ok := strings.Cut(page, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	compare(t, path, before+tableBegin+valuesTable(t)+tableEnd+after)
}

// What the README says of each variant's rights is what the manifests have.
func TestTheReadmeNamesTheRightsOfEachVariant(t *testing.T) {
	page := read(t, chartDir+"/README.md")
	for variant := range privileges {
		if !strings.Contains(page, "`"+variant+"`") {
			t.Errorf("it does not name %s", variant)
		}
	}
	for _, line := range strings.Split(privileges["passthrough"], "\n") {
		host, _, ok := strings.Cut(line, " -> ")
		if ok && !strings.Contains(page, "`"+strings.TrimPrefix(host, "/var/lib/kubelet/")+"`") {
			t.Errorf("it does not name %s", host)
		}
	}
}
