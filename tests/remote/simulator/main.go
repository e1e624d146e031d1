// SPDX-License-Identifier: BSD-3-Clause

// A vCenter server, or with -esx a lone ESXi host, for the tests: govmomi's simulator with the calls that it lacks and
// that disks over NFC need: the tickets of NfcService, EnableMethods and DisableMethods, QueryChangedDiskAreas. Each
// ticket that is issued is a line in a file, "sessionId kind object diskDeviceKey", for whoever plays the host's side of
// NFC.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"syscall"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type ref = types.ManagedObjectReference

// ---- NfcService: the calls that the stock simulator lacks ----

type ticketReq struct {
	This          ref   `xml:"_this"`
	Vm            ref   `xml:"vm"`
	DiskDeviceKey int32 `xml:"diskDeviceKey"`
	HostForAccess *ref  `xml:"hostForAccess"`
}
type NfcGetVmFiles ticketReq
type NfcRandomAccessOpenDisk ticketReq
type NfcRandomAccessOpenReadonly ticketReq
type NfcFileManagement struct {
	This          ref  `xml:"_this"`
	Ds            ref  `xml:"ds"`
	HostForAccess *ref `xml:"hostForAccess"`
}
type NfcGetServerNfcLibVersion struct {
	This          ref  `xml:"_this"`
	HostForAccess *ref `xml:"hostForAccess"`
}
type ticketRes struct {
	Returnval types.HostServiceTicket `xml:"returnval"`
}

// the simulator names the response element after the Go type
type NfcGetVmFilesResponse ticketRes
type NfcRandomAccessOpenDiskResponse ticketRes
type NfcRandomAccessOpenReadonlyResponse ticketRes
type NfcFileManagementResponse ticketRes
type NfcGetServerNfcLibVersionResponse struct {
	Returnval int32 `xml:"returnval"`
}
type fault struct {
	Fault_ *soap.Fault `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"`
}

func (f *fault) Fault() *soap.Fault { return f.Fault_ }

type getVmFilesBody struct {
	Res *NfcGetVmFilesResponse `xml:"NfcGetVmFilesResponse,omitempty"`
	fault
}
type openDiskBody struct {
	Res *NfcRandomAccessOpenDiskResponse `xml:"NfcRandomAccessOpenDiskResponse,omitempty"`
	fault
}
type openReadonlyBody struct {
	Res *NfcRandomAccessOpenReadonlyResponse `xml:"NfcRandomAccessOpenReadonlyResponse,omitempty"`
	fault
}
type fileManagementBody struct {
	Res *NfcFileManagementResponse `xml:"NfcFileManagementResponse,omitempty"`
	fault
}
type libVersionBody struct {
	Res *NfcGetServerNfcLibVersionResponse `xml:"NfcGetServerNfcLibVersionResponse,omitempty"`
	fault
}

// The simulator looks at every object for one of its own types; any without properties will do.
type NfcService struct {
	mo.FileManager
	mu         sync.Mutex
	host       string
	port       int32
	thumbprint string
	service    string
	version    int32
	log        *os.File
}

func (s *NfcService) issue(kind string, r ticketReq) (*ticketRes, *soap.Fault) {
	if simulator.Map.Get(r.Vm) == nil {
		return nil, simulator.Fault("", &types.ManagedObjectNotFound{Obj: r.Vm})
	}
	id := uuid.New().String()
	s.mu.Lock()
	fmt.Fprintf(s.log, "%s %s %s %d\n", id, kind, r.Vm.Value, r.DiskDeviceKey)
	s.mu.Unlock()
	return &ticketRes{types.HostServiceTicket{
		Host: s.host, Port: s.port, SslThumbprint: s.thumbprint,
		Service: s.service, ServiceVersion: "1.1", SessionId: id,
	}}, nil
}

func (s *NfcService) NfcGetVmFiles(r *NfcGetVmFiles) soap.HasFault {
	t, f := s.issue("ro-vm", ticketReq(*r))
	return &getVmFilesBody{(*NfcGetVmFilesResponse)(t), fault{f}}
}
func (s *NfcService) NfcRandomAccessOpenDisk(r *NfcRandomAccessOpenDisk) soap.HasFault {
	t, f := s.issue("rw-disk", ticketReq(*r))
	return &openDiskBody{(*NfcRandomAccessOpenDiskResponse)(t), fault{f}}
}
func (s *NfcService) NfcRandomAccessOpenReadonly(r *NfcRandomAccessOpenReadonly) soap.HasFault {
	t, f := s.issue("ro-disk", ticketReq(*r))
	return &openReadonlyBody{(*NfcRandomAccessOpenReadonlyResponse)(t), fault{f}}
}
func (s *NfcService) NfcFileManagement(r *NfcFileManagement) soap.HasFault {
	t, f := s.issue("rw-store", ticketReq{This: r.This, Vm: r.Ds, HostForAccess: r.HostForAccess})
	return &fileManagementBody{(*NfcFileManagementResponse)(t), fault{f}}
}
func (s *NfcService) NfcGetServerNfcLibVersion(r *NfcGetServerNfcLibVersion) soap.HasFault {
	return &libVersionBody{Res: &NfcGetServerNfcLibVersionResponse{s.version}}
}

// ---- EnableMethods / DisableMethods ----

type DisableMethods struct {
	This   ref   `xml:"_this"`
	Entity []ref `xml:"entity"`
	Method []struct {
		Method string `xml:"method"`
		Reason string `xml:"reasonId"`
	} `xml:"method"`
	Source string `xml:"sourceId"`
}
type EnableMethods struct {
	This   ref      `xml:"_this"`
	Entity []ref    `xml:"entity"`
	Method []string `xml:"method"`
	Source string   `xml:"sourceId"`
}
type DisableMethodsResponse struct{}
type EnableMethodsResponse struct{}
type disableBody struct {
	Res *DisableMethodsResponse `xml:"DisableMethodsResponse,omitempty"`
	fault
}
type enableBody struct {
	Res *EnableMethodsResponse `xml:"EnableMethodsResponse,omitempty"`
	fault
}

type authz struct {
	simulator.AuthorizationManager
	changes *ChangeService
}

// All privileges are granted but for those that the file denies. A server from before 5.5 does not know the call.
func (a *authz) HasPrivilegeOnEntities(r *types.HasPrivilegeOnEntities) soap.HasFault {
	c := a.changes.read()
	if c.Old {
		return &methods.HasPrivilegeOnEntitiesBody{Fault_: simulator.Fault("", &types.MethodNotFound{Method: "HasPrivilegeOnEntities"})}
	}
	body := a.AuthorizationManager.HasPrivilegeOnEntities(r).(*methods.HasPrivilegeOnEntitiesBody)
	for _, e := range body.Res.Returnval {
		for i := range e.PrivAvailability {
			e.PrivAvailability[i].IsGranted = !c.denies(e.PrivAvailability[i].PrivId)
		}
	}
	return body
}

// govmomi's own leaves out what is false.
type HasPrivilegeOnEntityResponse struct {
	Returnval []bool `xml:"returnval"`
}
type hasPrivilegeBody struct {
	Res *HasPrivilegeOnEntityResponse `xml:"HasPrivilegeOnEntityResponse,omitempty"`
	fault
}

func (a *authz) HasPrivilegeOnEntity(r *types.HasPrivilegeOnEntity) soap.HasFault {
	c, res := a.changes.read(), &HasPrivilegeOnEntityResponse{}
	for _, name := range r.PrivId {
		res.Returnval = append(res.Returnval, !c.denies(name))
	}
	return &hasPrivilegeBody{Res: res}
}

func (a *authz) DisableMethods(r *DisableMethods) soap.HasFault {
	log.Printf("DisableMethods %v %v by %s", r.Entity, r.Method, r.Source)
	return &disableBody{Res: &DisableMethodsResponse{}}
}
func (a *authz) EnableMethods(r *EnableMethods) soap.HasFault {
	log.Printf("EnableMethods %v %v by %s", r.Entity, r.Method, r.Source)
	return &enableBody{Res: &EnableMethodsResponse{}}
}

func init() {
	for _, v := range []interface{}{NfcGetVmFiles{}, NfcRandomAccessOpenDisk{}, NfcRandomAccessOpenReadonly{},
		NfcFileManagement{}, NfcGetServerNfcLibVersion{}, DisableMethods{}, EnableMethods{}, QueryChangedDiskAreas{}} {
		t := reflect.TypeOf(v)
		types.Add(t.Name(), t)
	}
}

func main() {
	addr := flag.String("l", "127.0.0.1:8989", "listen address")
	esx := flag.Bool("esx", false, "stand-alone ESXi instead of vCenter")
	user := flag.String("username", "user", "user name")
	pass := flag.String("password", "pass", "password")
	nhost := flag.String("nfc-host", "127.0.0.1", "HostServiceTicket.host (empty: leave the field out)")
	nport := flag.Int("nfc-port", 902, "HostServiceTicket.port")
	nthumb := flag.String("nfc-thumbprint", "", "HostServiceTicket.sslThumbprint")
	nver := flag.Int("nfc-version", 11, "NfcGetServerNfcLibVersion")
	tickets := flag.String("tickets", "/dev/null", "append issued tickets here")
	changed := flag.String("changes", "", "what has been written to disks, for QueryChangedDiskAreas")
	disks := flag.Int("disks", 1, "disks of each machine")
	flag.Parse()

	m, svc := simulator.VPX(), "vpxa-nfc"
	if *esx {
		m, svc = simulator.ESX(), "nfc"
	}
	if err := m.Create(); err != nil {
		log.Fatal(err)
	}
	defer m.Remove()
	f, err := os.OpenFile(*tickets, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0600)
	if err != nil {
		log.Fatal(err)
	}
	// the stock RetrieveInternalContent hands out the moref "NfcService"
	simulator.Map.Put(&NfcService{FileManager: mo.FileManager{Self: ref{Type: "NfcService", Value: "NfcService"}}, host: *nhost,
		port: int32(*nport), thumbprint: *nthumb, service: svc, version: int32(*nver), log: f})
	am := simulator.Map.Get(*simulator.Map.Get(ref{Type: "ServiceInstance", Value: "ServiceInstance"}).(*simulator.ServiceInstance).Content.AuthorizationManager)
	addDisks(*disks)
	cs := newChangeService(*changed)
	simulator.Map.Put(&authz{*am.(*simulator.AuthorizationManager), cs})
	simulator.Map.Put(cs)
	simulator.Map.AddHandler(cs)

	m.Service.Listen = &url.URL{Scheme: "https", Host: *addr, Path: "/sdk", User: url.UserPassword(*user, *pass)}
	m.Service.TLS = new(tls.Config)
	s := m.Service.NewServer()
	defer s.Close()
	log.Printf("ready %s", s.URL)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	<-c
}
