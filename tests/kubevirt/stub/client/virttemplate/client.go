// SPDX-License-Identifier: Apache-2.0

// Package virttemplate stands in for the template API's client, which no test calls.
package virttemplate

import (
	"errors"

	"k8s.io/client-go/rest"
)

type Typed struct{}

func (Typed) RESTClient() rest.Interface { return nil }

type Clientset struct{}

func (*Clientset) TemplateV1beta1() Typed { return Typed{} }

func NewForConfig(*rest.Config) (*Clientset, error) {
	return nil, errors.New("a stand-in")
}
